"""One call of one official client, as a user would write it: prints what it gives or shows.

    python clients.py CLIENT CALL BASE TOKEN

CALL is `call` (the ordinary one), `unknown` (a route that no surface has) or `bearer` (git with the
token in a header that it is told to send). The last line is `came:`
and what came, or `shown:` and the text of the error.
"""

import io
import json
import os
import subprocess
import sys
import tempfile

client, call, base, token = sys.argv[1:]
MODEL = "acme/m"
SAID = [{"role": "user", "content": "hi"}]


def openai():
    import openai
    api = openai.OpenAI(base_url=base + "/v1", api_key=token, max_retries=0)
    if call == "unknown":
        return api.post("/nowhere", cast_to=object, body={})
    return api.chat.completions.create(model=MODEL, messages=SAID).choices[0].message.content


def openai_stream():
    import openai
    api = openai.OpenAI(base_url=base + "/v1", api_key=token, max_retries=0)
    return [part.id for part in api.chat.completions.create(model=MODEL, messages=SAID, stream=True)]


def anthropic():
    import anthropic
    api = anthropic.Anthropic(base_url=base, api_key=token, max_retries=0)
    if call == "unknown":
        return api.post("/nowhere", cast_to=object, body={})
    return api.messages.create(model=MODEL, max_tokens=9, messages=SAID).content


def genai():
    from google import genai
    from google.genai import types
    options = types.HttpOptions(base_url=base, api_version="nowhere" if call == "unknown" else "v1beta")
    api = genai.Client(api_key=token, http_options=options)
    return api.models.generate_content(model="m", contents="hi").text


def cohere():
    import cohere
    api = cohere.ClientV2(api_key=token, base_url=base + ("/nowhere" if call == "unknown" else ""))
    return api.chat(model=MODEL, messages=SAID).id


def ollama():
    import ollama
    api = ollama.Client(host=base + ("/nowhere" if call == "unknown" else ""),
                        headers={"authorization": f"Bearer {token}"})
    return api.chat(model=MODEL, messages=SAID).message.content


def mistral():
    from mistralai.client import Mistral
    api = Mistral(api_key=token, server_url=base + ("/nowhere" if call == "unknown" else ""))
    return api.chat.complete(model=MODEL, messages=SAID).id


def aws(service):
    """A client of boto3. With `AWS_BEARER_TOKEN_BEDROCK` it insists on TLS, which a proxy in front
    terminates; here the token is put where that would have put it."""
    import boto3
    from botocore.config import Config
    api = boto3.client(service, region_name="us-east-1", endpoint_url=base,
                       aws_access_key_id="none", aws_secret_access_key="none",
                       config=Config(retries={"total_max_attempts": 1}))

    def bearer(request, **_):
        request.headers["authorization"] = f"Bearer {token}"
    api.meta.events.register(f"before-send.{service}.*", bearer)
    return api


def bedrock():
    api = aws("bedrock-runtime")
    if call == "unknown":
        return api.invoke_guardrail_checks(messages=[]) if hasattr(
            api, "invoke_guardrail_checks") else api.list_async_invokes()
    said = [{"role": "user", "content": [{"text": "hi"}]}]
    return api.converse(modelId=MODEL, messages=said)["stopReason"]


def sagemaker():
    api = aws("sagemaker-runtime")
    name = "m" if call == "call" else "m/nowhere"
    return api.invoke_endpoint(EndpointName=name, Body=b"1", ContentType="text/csv")["ContentType"]


def hub():
    from huggingface_hub import HfApi
    return HfApi(endpoint=base, token=token, library_name="corners")


def hub_download():
    from huggingface_hub import hf_hub_download
    return hf_hub_download(MODEL, "config.json", endpoint=base, token=token,
                           cache_dir=tempfile.mkdtemp())


def hub_snapshot():
    from huggingface_hub import snapshot_download
    return snapshot_download(MODEL, endpoint=base, token=token, cache_dir=tempfile.mkdtemp())


def hub_info():
    return hub().model_info(MODEL).id


def hub_create():
    return hub().create_repo(MODEL, exist_ok=True)


def hub_upload():
    return hub().upload_file(path_or_fileobj=io.BytesIO(b"x"), path_in_repo="a.txt", repo_id=MODEL)


def hub_unknown():
    from huggingface_hub.utils import get_session, hf_raise_for_status
    answer = get_session().get(base + "/api/nowhere/at/all", headers={"authorization": f"Bearer {token}"})
    return hf_raise_for_status(answer)


def hub_inference():
    from huggingface_hub import InferenceClient
    return InferenceClient(base_url=base + "/v1", api_key=token).chat_completion(SAID, model=MODEL).id


def triton_http():
    import tritonclient.http as triton
    api = triton.InferenceServerClient(base.removeprefix("http://"))
    headers = {"authorization": f"Bearer {token}"}
    if call == "unknown":
        return api.get_trace_settings(headers=headers)
    return api.get_model_metadata("m", headers=headers)["name"]


def triton_grpc():
    import tritonclient.grpc as triton
    api = triton.InferenceServerClient(base.removeprefix("http://"))
    headers = {"authorization": f"Bearer {token}"}
    if call == "unknown":
        return api.get_cuda_shared_memory_status(headers=headers)
    return api.get_model_metadata("m", headers=headers).name


def mlflow():
    os.environ["MLFLOW_TRACKING_TOKEN"] = token
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    from mlflow import MlflowClient
    api = MlflowClient(tracking_uri=base, registry_uri=base)
    if call == "unknown":
        from mlflow.utils.rest_utils import augmented_raise_for_status, http_request
        answer = http_request(api._tracking_client.store.get_host_creds(), "/api/2.0/nowhere", "GET")
        return augmented_raise_for_status(answer)
    return api.get_registered_model("m").name


def git(*arguments):
    folder = tempfile.mkdtemp()
    host = base.removeprefix("http://")
    url = f"http://user:{token}@{host}/{MODEL}" if "bearer" not in call else f"{base}/{MODEL}"
    told = ["-c", f"http.extraHeader=Authorization: Bearer {token}"] if "bearer" in call else []
    done = subprocess.run(["git", *told, *arguments, url + ("/nowhere" if call == "unknown" else "")],
                          cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "HOME": folder})
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def git_fetch():
    return git("ls-remote")


try:
    print("came:", repr(globals()[client]())[:300])
except Exception as error:
    print("shown:", json.dumps(f"{error}"))
