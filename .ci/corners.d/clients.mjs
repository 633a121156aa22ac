// One call of one of Hugging Face's clients for JavaScript: prints what it gives or shows.
//
//     node clients.mjs CLIENT BASE TOKEN
//
// The packages are those of the folder in which it runs.
//
// The last line is `came:` and what came, or `shown:` and the text of the error.
import { createRequire } from "node:module";

const [client, base, token] = process.argv.slice(2);
const { InferenceClient } = createRequire(`${process.cwd()}/`)("@huggingface/inference");
const { createRepo, downloadFile, modelInfo } = createRequire(`${process.cwd()}/`)("@huggingface/hub");
const hub = { hubUrl: base, accessToken: `hf_${token}` };
const said = { model: "acme/m", messages: [{ role: "user", content: "hi" }] };

const calls = {
  async inference() {
    const api = new InferenceClient(token, { endpointUrl: base });
    return (await api.chatCompletion(said)).id;
  },
  async inference_stream() {
    const api = new InferenceClient(token, { endpointUrl: base });
    for await (const part of api.chatCompletionStream(said)) return part.id;
  },
  async hub_info() {
    return (await modelInfo({ name: "acme/m", ...hub })).name;
  },
  async hub_download() {
    const file = await downloadFile({ repo: "acme/m", path: "config.json", ...hub });
    return file && (await file.text());
  },
  async hub_create() {
    return await createRepo({ repo: "acme/m", ...hub });
  },
};

try {
  console.log("came:", JSON.stringify(await calls[client]()));
} catch (error) {
  console.log("shown:", JSON.stringify(`${error.message}`));
}
