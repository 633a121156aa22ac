"""Entries 10, 11 and 15: what responses report, and what the user of each client sees of a refusal."""

import base64
import contextlib
import json
import os
import shutil
import struct
import subprocess
import threading
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

import stage
from stage import Stage, Upstream, check, entry, until

HERE = Path(__file__).resolve().parent.parent
WORK = HERE.parent.parent / "target" / "traffic"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
JSON = "application/json"
AWS = "application/vnd.amazon.eventstream"
CHAT = {"model": "acme/m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
BOOM = "boom of a secret"

# An example request of each surface.
CALLS = {
    "openai": ("/v1/chat/completions", CHAT),
    "responses": ("/v1/responses", {"model": "acme/m", "input": "hi", "stream": True}),
    "vllm": ("/v1/chat/completions", CHAT),
    "anthropic": ("/v1/messages", CHAT),
    "gemini": ("/v1beta/models/m:streamGenerateContent", {"contents": []}),
    "cohere": ("/v2/chat", CHAT),
    "rerank": ("/v2/rerank", {"model": "acme/m", "query": "a", "documents": ["b"]}),
    "ollama": ("/api/chat", CHAT),
    "pull": ("/api/pull", {"model": "acme/m"}),
    "bedrock-runtime": ("/model/acme%2Fm/converse-stream", {"messages": []}),
    "invoke": ("/model/acme%2Fm/invoke", {"prompt": "hi"}),
    "sagemaker-runtime": ("/endpoints/m/invocations-response-stream", {"x": 1}),
    "triton": ("/v2/models/m/generate_stream", {"text_input": "hi"}),
    "hf-router": ("/v1/chat/completions", CHAT),
    "llama.cpp": ("/v1/chat/completions", CHAT),
}
SURFACE = {"responses": "openai", "rerank": "cohere", "pull": "ollama", "invoke": "bedrock-runtime"}


def sse(*documents):
    return "".join(f"data: {json.dumps(it) if not isinstance(it, str) else it}\n\n" for it in documents).encode()


def named(event, document):
    return f"event: {event}\ndata: {json.dumps(document)}\n\n".encode()


def aws(headers, payload=b""):
    """A message of an AWS event stream, without valid checksums."""
    head = b"".join(bytes([len(name)]) + name.encode() + b"\7" + struct.pack(">H", len(value))
                    + value.encode() for name, value in headers.items())
    return struct.pack(">III", 16 + len(head) + len(payload), len(head), 0) + head + payload + bytes(4)


def outcome(row):
    return row.get("outcome") or row


def recorded(surface, media, body, headers=()):
    """The outcome of one call with this response."""
    path, request = CALLS[surface]

    def answer(handler):
        handler.reply(200, body, {"content-type": media, **dict(headers)})
    one = staged(SURFACE.get(surface, surface), Upstream(answer).url)
    reply = one.call(path, request)
    if reply.status != 200:
        raise RuntimeError(f"{surface}: {reply}")
    row = until("its outcome is there", lambda: [it for it in one.rows() if it.get("outcome")])[0]
    one.stop()
    return outcome(row)


@entry("10", "a failure that an answer reports within a 200 is the model's")
def fails_late():
    good = {"choices": [{"delta": {"content": "a"}}]}
    error = {"error": {"message": BOOM, "type": "server_error", "param": None, "code": None}}
    for surface, media, body, word in [
        ("openai", EVENTS, sse(good, error), "server_error"),
        ("openai", EVENTS, sse(good, error).rstrip(), "server_error"),
        ("openai", EVENTS, b"event: error\ndata: " + BOOM.encode() + b"\n\n", None),
        ("openai", JSON, json.dumps(error).encode(), "server_error"),
        ("vllm", EVENTS, sse(good, {"object": "error", "message": BOOM, "type": "InternalServerError",
                                    "code": 500}), "InternalServerError"),
        ("responses", EVENTS, named("response.failed", {"type": "response.failed", "response": {
            "status": "failed", "error": {"code": "server_error", "message": BOOM}}}), "server_error"),
        ("responses", EVENTS, named("error", {"type": "error", "code": "ERR_X", "message": BOOM}), "ERR_X"),
        ("anthropic", EVENTS, named("error", {"type": "error", "error": {
            "type": "overloaded_error", "message": BOOM}}), "overloaded_error"),
        ("gemini", JSON, json.dumps([{"candidates": []}, {"error": {
            "code": 503, "message": BOOM, "status": "UNAVAILABLE"}}]).encode(), "UNAVAILABLE"),
        ("gemini", EVENTS, sse({"error": {"code": 500, "message": BOOM, "status": "INTERNAL"}}), "INTERNAL"),
        ("cohere", EVENTS, named("message-end", {"type": "message-end", "delta": {
            "finish_reason": "ERROR", "error": BOOM}}), "ERROR"),
        ("ollama", LINES, b'{"done":false}\n' + json.dumps({"error": BOOM}).encode() + b"\n", None),
        ("pull", LINES, b'{"status":"pulling manifest"}\n{"error":"file does not exist"}', None),
        ("bedrock-runtime", AWS, aws({":exception-type": "throttlingException",
                                      ":message-type": "exception"}, BOOM.encode()), "throttlingException"),
        ("sagemaker-runtime", AWS, aws({":exception-type": "ModelStreamError",
                                        ":message-type": "exception"}, b"{}"), "ModelStreamError"),
        ("triton", EVENTS, sse({"error": BOOM}), None),
        ("hf-router", EVENTS, sse({"error": BOOM, "error_type": "generation"}), "generation"),
    ]:
        got = recorded(surface, media, body)
        what = (got["class"], got.get("fault"), got.get("error_type"))
        check(f"{surface} {media} {body[:60]!r}", ("model_failed", "model", word), what)
        check("nothing of the message is kept", False, "secret" in json.dumps(got))
    for surface, media, body in [
        ("openai", EVENTS, sse(good, "[DONE]")),
        ("openai", EVENTS, sse(good)),
        ("openai", JSON, b'{"error":null,"choices":[]}'),
        ("triton", JSON, b'{"error":0.25}'),
    ]:
        check(f"{surface} {body[:40]!r} is none", "ok", recorded(surface, media, body)["class"])


def conversation(messages, code=1000):
    """The outcome of a realtime conversation in which the model sends these messages and closes."""
    def talk(socket):
        socket.recv()
        for message in messages:
            socket.send(json.dumps(message))
        socket.close(code)
    model = serve(talk, "127.0.0.1", 0)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    one = Stage(upstream=f"http://127.0.0.1:{model.socket.getsockname()[1]}").start()
    headers = {"authorization": f"Bearer {one.key.token()}"}
    with connect(f"ws://127.0.0.1:{one.port}/v1/realtime?model=acme/m", additional_headers=headers,
                 proxy=None) as socket:
        socket.send('{"type":"response.create"}')
        with contextlib.suppress(ConnectionClosed):
            list(socket)
    row = until("its outcome is there", lambda: [it for it in one.rows() if it.get("outcome")])[0]
    model.shutdown()
    return outcome(row)


@entry("10", "a realtime conversation that fails is the model's failure")
def fails_in_conversation():
    done = {"type": "response.done", "response": {"status": "failed", "status_details": {
        "type": "failed", "error": {"type": "server_error", "code": "internal_error"}}}}
    error = {"type": "error", "error": {"type": "server_error", "code": None, "message": BOOM}}
    for messages, code, due in [
        ([done], 1000, ("model_failed", "internal_error")),
        ([error], 1000, ("model_failed", "server_error")),
        ([], 1011, ("model_failed", "close:1011")),
        ([{"type": "response.done", "response": {"status": "completed"}}], 1000, ("ok", None)),
    ]:
        got = conversation(messages, code)
        check(f"{messages} {code}", due, (got["class"], got.get("error_type")))


@entry("11", "what each API reports of tokens is recorded")
def tokens():
    brotli = b'{"usage":{"prompt_tokens":3,"completion_tokens":5}}'
    # One metablock that is not compressed (RFC 7932 §9.2).
    brotli = bytes([0x20, 0x03, 0x10]) + brotli + b"\3"
    chunk = base64.b64encode(json.dumps({"amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 8, "outputTokenCount": 9}}).encode()).decode()
    for surface, media, body, headers, due in [
        ("openai", JSON, brotli, {"content-encoding": "br"}, {"tokens_in": 3, "tokens_out": 5}),
        ("openai", JSON, {"usage": {
            "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 32}}}, {},
         {"tokens_in": 100, "tokens_out": 50, "tokens_total": 150, "tokens_cached": 64,
          "tokens_reasoning": 32}),
        ("vllm", JSON, {"usage": {"total_tokens": 56}}, {}, {"tokens_total": 56}),
        ("anthropic", JSON, {"usage": {
            "input_tokens": 5, "output_tokens": 6, "cache_creation_input_tokens": 7,
            "cache_read_input_tokens": 8}}, {},
         {"tokens_in": 5, "tokens_out": 6, "tokens_cache_written": 7, "tokens_cached": 8}),
        ("gemini", JSON, {"usageMetadata": {
            "promptTokenCount": 1, "candidatesTokenCount": 2, "thoughtsTokenCount": 3,
            "cachedContentTokenCount": 4, "toolUsePromptTokenCount": 5, "totalTokenCount": 6}}, {},
         {"tokens_in": 1, "tokens_out": 2, "tokens_reasoning": 3, "tokens_cached": 4,
          "tokens_tools": 5, "tokens_total": 6}),
        ("rerank", JSON, {"meta": {"billed_units": {"search_units": 1}}}, {}, {"search_units": 1}),
        ("invoke", JSON, b"{}", {"x-amzn-bedrock-input-token-count": "4",
                                 "x-amzn-bedrock-output-token-count": "5"},
         {"tokens_in": 4, "tokens_out": 5}),
        ("bedrock-runtime", AWS, aws({":message-type": "event", ":event-type": "metadata"}, json.dumps(
            {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3,
                       "cacheReadInputTokens": 4}}).encode()), {},
         {"tokens_in": 1, "tokens_out": 2, "tokens_total": 3, "tokens_cached": 4}),
        ("bedrock-runtime", AWS, aws({":message-type": "event", ":event-type": "chunk"},
                                     json.dumps({"bytes": chunk}).encode()), {},
         {"tokens_in": 8, "tokens_out": 9}),
        ("ollama", LINES, b'{"done":true,"prompt_eval_count":26,"eval_count":298}', {},
         {"tokens_in": 26, "tokens_out": 298}),
        ("llama.cpp", EVENTS, sse({"timings": {"cache_n": 1, "prompt_n": 2, "predicted_n": 3}}), {},
         {"tokens_in": 2, "tokens_out": 3, "tokens_cached": 1}),
    ]:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        got = recorded(surface, media, body, headers)
        counts = {name: it for name, it in got.items() if name.startswith(("tokens_", "search_"))}
        check(f"{surface} {sorted(due)}", due, counts)
    done = {"type": "response.done", "response": {"status": "completed", "usage": {
        "total_tokens": 30, "input_tokens": 20, "output_tokens": 10,
        "input_token_details": {"cached_tokens": 5}}}}
    got = conversation([done, done])
    check("realtime, two turns", {"tokens_in": 40, "tokens_out": 20, "tokens_total": 60, "tokens_cached": 10},
          {name: it for name, it in got.items() if name.startswith("tokens_")})


@entry("11", "a server is offered only encodings that can be read")
def offered():
    model = Upstream()
    one = Stage(upstream=model.url).start()
    for due, offer in [("gzip, br", "gzip, br, dcb"), ("identity", "dcz"), (None, None)]:
        headers = {"accept-encoding": offer} if offer else {}
        stage.raw(one.port, "\r\n".join([
            "POST /v1/chat/completions HTTP/1.1", "host: a", "connection: close",
            f"authorization: Bearer {one.key.token()}", "content-type: application/json",
            *[f"{name}: {value}" for name, value in headers.items()],
            "content-length: 31", "", '{"model":"acme/m","messages":0}']).encode())
        check(f"offered {offer}", due, model.seen[-1][2].get("accept-encoding"))


CLIENTS = ["openai==3.57.0", "anthropic==2.14.0", "google-genai==3.6.1", "cohere==7.3.1", "ollama==0.6.3",
           "huggingface_hub==2.4.0", "mistralai==3.7.0", "tritonclient[http,grpc]==2.73.0", "boto3==1.44.8",
           "mlflow-skinny==3.17.2"]


def clients():
    """The interpreter that has the official clients, installed on first use."""
    if python := os.environ.get("CLIENTS_PYTHON"):
        return python
    home = WORK / "clients"
    installed = home / "installed"
    if not installed.exists() or installed.read_text() != repr(CLIENTS):
        subprocess.run(["python3", "-m", "venv", home], check=True)
        subprocess.run([home / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *CLIENTS],
                       check=True)
        installed.write_text(repr(CLIENTS))
    return home / "bin/python"


def node():
    """A folder with the clients for node; None where there is no node."""
    if folder := os.environ.get("CLIENTS_NODE"):
        return Path(folder)
    if not shutil.which("node") or not shutil.which("npm"):
        return None
    folder = WORK / "node"
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "@huggingface/inference@4.13.30",
                        "@huggingface/hub@2.17.5"], cwd=folder, check=True)
    return folder


def shown(command, folder=None):
    """The text that a client's user sees, or `came:` and the result."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder,
                          env={**os.environ, "NO_COLOR": "1", "HF_HUB_DISABLE_TELEMETRY": "1"})
    lines = [it for it in done.stdout.splitlines() if it.startswith(("came:", "shown:"))]
    if not lines:
        return f"{done.stdout}{done.stderr}"
    kind, text = lines[-1].split(" ", 1)
    return json.loads(text) if kind == "shown:" else lines[-1]


REFUSED = ["`user:corp/alice` may not", "ask "]
DOWN = ["the model's server cannot be reached", "tell its operator"]
UNKNOWN = ["not part of any model API served here"]
EXPIRED = ["access token"]

# Surface, client, and the calls besides the ordinary one. Each call is made by a caller without a grant, with
# an upstream that is down, and for a path that no surface has.
PYTHON = [
    ("openai", "openai", "refused down unknown"),
    ("openai", "openai_stream", "refused down"),
    ("openai", "mistral", "refused down unknown"),
    ("anthropic", "anthropic", "refused down unknown"),
    ("gemini", "genai", "refused down unknown"),
    ("cohere", "cohere", "refused down unknown"),
    ("ollama", "ollama", "refused down unknown"),
    ("bedrock-runtime", "bedrock", "refused down"),
    ("sagemaker-runtime", "sagemaker", "refused down"),
    ("hf-hub", "hub_download", "refused down"),
    ("hf-hub", "hub_snapshot", "refused down"),
    ("hf-hub", "hub_info", "refused down"),
    ("hf-hub", "hub_create", "refused down"),
    ("hf-hub", "hub_upload", "refused down"),
    ("hf-hub", "hub_unknown", "unknown"),
    ("hf-router", "hub_inference", "refused down"),
    ("hf-router", "openai", "refused down unknown"),
    (["triton", "oip"], "triton_http", "refused down"),
    ("openai", "triton_http", "unknown"),
    ("oip", "triton_http", "unknown"),
    ("oip-grpc", "triton_grpc", "refused down"),
    # A server that is down is asked again by this one until it gives up, with words of its own.
    ("mlflow", "mlflow", "refused unknown"),
]
NODE = [
    ("hf-router", "inference", "refused down"),
    ("hf-router", "inference_stream", "refused down"),
    ("tgi", "inference", "refused down"),
    ("hf-hub", "hub_info", "refused down"),
    ("hf-hub", "hub_download", "refused down"),
    ("hf-hub", "hub_create", "refused down"),
]


def staged(surface, upstream):
    """A proxy in which `nlp` maintains `acme/m` and `m`."""
    one = Stage()
    for name in ("acme/m", "m"):
        one.write(f"access/models/{name}.toml",
                  f'model = "{name}"\nowner = "group:nlp"\n[grants.production]\n'
                  'maintainer = ["group:nlp"]\n')
    return one.configure(surface=surface, upstream=upstream).start()


def told(surface, client, cases, ask):
    model = Upstream()
    alive, dead = staged(surface, model.url), staged(surface, "http://127.0.0.1:9")
    for case in cases.split():
        one = dead if case == "down" else alive
        token = one.key.token(groups=() if case == "refused" else ("nlp",))
        text = ask(client, "unknown" if case == "unknown" else "call", one.url, token)
        words = {"refused": REFUSED, "down": DOWN, "unknown": UNKNOWN}[case]
        check(f"{client} at {surface}, {case}", words, text, all(it in text for it in words))
    alive.stop()
    dead.stop()


@entry("15", "the user of each official client reads who may not do what, and whom to ask")
def clients_show():
    python = clients()

    def ask(client, call, url, token):
        return shown([python, HERE / "clients.py", client, call, url, token])
    for row in PYTHON:
        told(*row, ask)
    model = Upstream()
    one = staged("openai", model.url)
    text = ask("openai", "call", one.url, one.key.token())
    check("openai, allowed", "came: 'hello'", text)


@entry("15", "git shows why it may not")
def git_shows():
    if not shutil.which("git"):
        check("git", "is there, or its part is left out", "left out", True)
        return
    python = clients()
    model = Upstream()
    alive, dead = staged("git-http", model.url), staged("git-http", "http://127.0.0.1:9")
    stranger = alive.key.token(groups=())
    old = alive.key.token(iat=900, exp=1000)
    for what, one, call, token, words in [
        ("refused, the token as password", alive, "call", stranger, REFUSED),
        ("refused, the token in a header", alive, "bearer", stranger, REFUSED),
        ("expired, the token as password", alive, "call", old, EXPIRED),
        ("expired, the token in a header", alive, "bearer", old, EXPIRED),
        ("the server is down", dead, "call", dead.key.token(), DOWN),
    ]:
        text = shown([python, HERE / "clients.py", "git_fetch", call, one.url, token])
        words = ["remote: ", *words]
        check(f"git, {what}", words, text,
              all(it in text for it in words) and "could not read Username" not in text)


@entry("15", "Hugging Face's clients for JavaScript show it, too")
def node_clients_show():
    folder = node()
    if not folder:
        check("node", "is there, or its part is left out", "left out", True)
        return

    def ask(client, _, url, token):
        return shown(["node", HERE / "clients.mjs", client, url, token], folder)
    for row in NODE:
        told(*row, ask)
