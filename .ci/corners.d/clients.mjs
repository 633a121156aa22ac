// One call of one of Hugging Face's clients for JavaScript: prints what it gives or shows.
//
//     node clients.mjs CLIENT BASE TOKEN
//
// The last line is `came:` and what came, or `shown:` and the text of the error.
const [client, base, token] = process.argv.slice(2);
const said = { model: "acme/m", messages: [{ role: "user", content: "hi" }] };

const calls = {
  async inference() {
    const { InferenceClient } = await import("@huggingface/inference");
    const api = new InferenceClient(token, { endpointUrl: base });
    return (await api.chatCompletion(said)).id;
  },
  async inference_stream() {
    const { InferenceClient } = await import("@huggingface/inference");
    const api = new InferenceClient(token, { endpointUrl: base });
    for await (const part of api.chatCompletionStream(said)) return part.id;
  },
  async hub_info() {
    const { modelInfo } = await import("@huggingface/hub");
    return (await modelInfo({ name: "acme/m", hubUrl: base, accessToken: token })).name;
  },
  async hub_download() {
    const { downloadFile } = await import("@huggingface/hub");
    const file = await downloadFile({ repo: "acme/m", path: "config.json", hubUrl: base, accessToken: token });
    return file && (await file.text());
  },
  async hub_create() {
    const { createRepo } = await import("@huggingface/hub");
    return await createRepo({ repo: "acme/m", hubUrl: base, accessToken: token });
  },
};

try {
  console.log("came:", JSON.stringify(await calls[client]()));
} catch (error) {
  console.log("shown:", JSON.stringify(`${error.message}`));
}
