"""Requests are read correctly: free JSON, the routes of ordinary callers, the limits of an API."""

import contextlib
import json
import select
import socket
import threading

import openai
import websockets.sync.client as websocket
import websockets.sync.server as server
from websockets.exceptions import WebSocketException

from stage import CHAT, Stage, Upstream, check, check_in, entry

SCHEMA = {"type": "object", "properties": {"car": {
    "type": "object", "default": {"model": "Golf"}, "examples": [{"Model": "Golf"}]}}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
SECOND = ('model = "acme/m2"\nowner = "group:nlp"\n[grants.production]\n'
          'caller = ["group:nlp"]\n')


def stage_of(surface, model, **more):
    stage = Stage(surface=surface, upstream=model.url, **more)
    stage.write("access/models/acme/m2.toml", SECOND)
    return stage.start()


def messages(answer):
    """A WebSocket server that keeps the messages that it received, and its address."""
    seen = []

    def talk(connection):
        for message in connection:
            seen.append(json.loads(message))
            connection.send(json.dumps(answer))
    listener = server.serve(talk, "127.0.0.1", 0)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    return seen, f"http://127.0.0.1:{listener.socket.getsockname()[1]}", listener


@entry("5", "free JSON is no selector, and what selects is")
def free_json():
    model = Upstream()
    stage = stage_of("openai", model)
    rows = [
        ("a default in a tool's schema", "/v1/chat/completions", {**CHAT, "tools": [FUNCTION]}, 200),
        ("metadata", "/v1/chat/completions", {**CHAT, "metadata": {"model": "Golf"}}, 200),
        ("the shape of an answer", "/v1/chat/completions", {**CHAT, "response_format": {
            "type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}, 200),
        ("a function of responses", "/v1/responses", {"model": "acme/m", "input": "hi", "tools": [
            {"type": "function", "name": "f", "parameters": SCHEMA}]}, 200),
        ("tools within a namespace", "/v1/responses", {"model": "acme/m", "input": "hi", "tools": [
            {"type": "namespace", "name": "n", "tools": [
                {"type": "function", "name": "f", "parameters": SCHEMA}]}]}, 200),
        ("a secret for a session", "/v1/realtime/client_secrets", {"session": {
            "type": "realtime", "model": "acme/m", "tools": [
                {"type": "function", "name": "f", "parameters": SCHEMA}]}}, 200),
        ("a tool that draws with an allowed model", "/v1/responses", {
            "model": "acme/m", "tools": [{"type": "image_generation", "model": "acme/m2"}]}, 200),
        ("a tool that draws with another", "/v1/responses", {
            "model": "acme/m", "tools": [{"type": "image_generation", "model": "acme/x"}]}, 403),
        ("a router's setting of a tool", "/v1/chat/completions", {**CHAT, "tools": [
            {"type": "openrouter:image_generation", "parameters": {"model": "acme/x"}}]}, 403),
        ("who looks at the answer", "/v1/responses", {
            "model": "acme/m", "moderation": {"model": "acme/x"}}, 403),
        ("a fallback", "/v1/chat/completions", {**CHAT, "fallbacks": [{"model": "acme/x"}]}, 403),
        ("models of a router", "/v1/chat/completions", {**CHAT, "models": ["acme/x"]}, 403),
        ("a transcription within a session", "/v1/realtime/client_secrets", {"session": {
            "model": "acme/m", "audio": {"input": {"transcription": {"model": "acme/x"}}}}}, 403),
        ("a judge", "/v1/evals", {"testing_criteria": [
            {"model": "acme/m"}, {"model": "acme/x"}]}, 403),
    ]
    for what, path, body, status in rows:
        check(what, status, stage.call(path, body).status)
    variant = stage.call("/v1/chat/completions", {**CHAT, "Model": "acme/x"})
    check("another spelling of the model, which some servers read", 400, variant.status)
    check_in("which the answer says", "in other letters", variant.body)
    stage.stop()

    seen, url, listener = messages({"type": "session.updated"})
    stage = Stage(surface="openai", upstream=url).start()
    address = f"ws://127.0.0.1:{stage.port}/v1/realtime?model=acme/m"
    token = {"Authorization": f"Bearer {stage.key.token()}"}
    with websocket.connect(address, additional_headers=token) as talk:
        talk.send(json.dumps({"type": "session.update", "session": {"tools": [
            {"type": "function", "name": "f", "parameters": SCHEMA}]}}))
        check("tools of a session pass", "session.updated", json.loads(talk.recv(10))["type"])
    with websocket.connect(address, additional_headers=token) as talk:
        talk.send(json.dumps({"type": "session.update", "session": {
            "audio": {"input": {"transcription": {"model": "acme/x"}}}}}))
        with contextlib.suppress(WebSocketException):
            talk.recv(10)
        check("another model of a session does not", 1, len(seen), "acme/x" not in json.dumps(seen))
    stage.stop()
    listener.shutdown()

    for surface, path, body, expected in [
        ("anthropic", "/v1/messages", {"model": "acme/m", "max_tokens": 9, "messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f",
                                               "input": {"model": "Golf", "Model": "Golf"}}]}],
            "tools": [{"name": "f", "input_schema": SCHEMA}]}, 200),
        ("ollama", "/api/chat", {"model": "acme/m", "messages": CHAT["messages"], "format": SCHEMA,
                                 "tools": [FUNCTION]}, 200),
        ("cohere", "/v2/chat", {"model": "acme/m", "messages": [], "tools": [FUNCTION]}, 200),
        ("gemini", "/v1beta/models/m:generateContent", {"contents": [], "tools": [
            {"functionDeclarations": [{"name": "f", "parameters": SCHEMA}]}]}, 403),
    ]:
        stage = Stage(surface=surface, upstream=model.url).start()
        status = stage.call(path, body).status
        check(f"{surface}: a schema", expected, status)
        stage.stop()


@entry("6", "the routes of ordinary callers, and surfaces that are served together")
def routes():
    model = Upstream()
    stage = stage_of("litellm", model)
    for path, body in [
        ("/v1/completions", {"prompt": "x"}), ("/v1/images/generations", {"prompt": "x"}),
        ("/v1/audio/speech", {"input": "x", "voice": "a"}),
        ("/v1/rerank", {"query": "q", "documents": ["d"]}),
        ("/v1/moderations", {"input": "x"}), ("/v1/videos", {"prompt": "x"}),
        ("/v1/messages/count_tokens", {"messages": []}),
    ]:
        check(f"litellm: {path}", 200, stage.call(path, {**body, "model": "acme/m"}).status)
        check(f"litellm: {path}, another model", 403,
              stage.call(path, {**body, "model": "acme/x"}).status)
    client = openai.OpenAI(base_url=stage.url + "/v1", api_key=stage.key.token(), max_retries=0)
    answer = client.audio.transcriptions.with_raw_response.create(model="acme/m", file=("a.mp3", b"ID3"))
    check("litellm: a recording by the official client", 200, answer.status_code)
    rows_before = len(model.seen)
    refused = stage.call("/vertex_ai/v1/projects/p", {})
    check("litellm: what is passed on is for administrators", 403, refused.status)
    check("and did not arrive", rows_before, len(model.seen))
    stage.stop()

    stage = stage_of("azure-openai", model)
    azure = openai.AzureOpenAI(azure_endpoint=stage.url, api_key=stage.key.token(),
                               api_version="2026-09-01", max_retries=0)
    new = openai.OpenAI(base_url=stage.url + "/openai/v1/", api_key=stage.key.token(), max_retries=0)
    for what, call in [
        ("AzureOpenAI().responses.create", lambda m: azure.responses.with_raw_response.create(model=m, input="hi")),
        ("OpenAI(…/openai/v1/).responses.create", lambda m: new.responses.with_raw_response.create(model=m, input="hi")),
        ("OpenAI(…/openai/v1/).embeddings.create", lambda m: new.embeddings.with_raw_response.create(model=m, input="hi")),
    ]:
        for name, status in [("acme/m", 200), ("acme/x", 403)]:
            try:
                got = call(name).status_code
            except openai.APIStatusError as error:
                got = error.status_code
            check(f"azure-openai: {what} of {name}", status, got)
    stage.stop()

    stage = stage_of("sglang", model)
    for path, body in [("/v1/completions", {"prompt": "x"}), ("/v1/embeddings", {"input": "x"})]:
        check(f"sglang: {path}", 200, stage.call(path, {**body, "model": "acme/m"}).status)
    stage.stop()

    for surfaces in (["litellm", "openai"], ["openai", "litellm"]):
        stage = stage_of(surfaces, model)
        check(f"{surfaces} start together", 200, stage.call("/v1/chat/completions", CHAT).status)
        detour = {**CHAT, "user_config": {"model_list": [{"model_name": "acme/m"}]}}
        check(f"{surfaces}: what one of them reads", 403,
              stage.call("/v1/chat/completions", detour).status)
        draws = {**CHAT, "tools": [{"type": "image_generation", "model": "acme/x"}]}
        check(f"{surfaces}: what the other one reads", 403,
              stage.call("/v1/chat/completions", draws).status)
        stage.stop()


def form(size, model="acme/m"):
    head = 'content-disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    tail = f'\r\n--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n{model}\r\n--b--\r\n'
    return b"--b\r\n" + head.encode() + b"x" * size + tail.encode()


def begun(stage, path, body, token, stop=None):
    """Sends a body until `stop` or until a response arrives; returns its head and the connection."""
    connection = socket.create_connection(("127.0.0.1", stage.port), 20)
    head = (f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
            f"content-type: {FORM['content-type']}\r\ncontent-length: {len(body)}\r\n\r\n")
    connection.sendall(head.encode())
    for at in range(0, stop or len(body), 1 << 16):
        if select.select([connection], [], [], 0)[0]:
            break
        try:
            connection.sendall(body[at:at + (1 << 16)])
        except ConnectionError:
            break
    ready = select.select([connection], [], [], 0 if stop else 20)[0]
    return connection.recv(1 << 16).decode() if ready else "", connection


FORM = {"content-type": "multipart/form-data; boundary=b"}


@entry("9", "limits as the API has them, and memory that is bounded")
def limits():
    model = Upstream()
    stage = stage_of("openai", model)
    path = "/v1/audio/transcriptions"
    for size, status in [(12, 200), (25, 200), (27, 413)]:
        got = stage.call(path, form(size << 20), headers=FORM)
        check(f"a recording of {size} MiB before the model", status, got.status)
    check("another model behind 12 MiB", 403,
          stage.call(path, form(12 << 20, "acme/x"), headers=FORM).status)
    check("an image of 50 MB before the model", 200,
          stage.call("/v1/images/edits", form(50_000_000), headers=FORM).status)
    check("which arrived as it was sent", form(50_000_000), model.seen[-1][3],
          model.seen[-1][3] == form(50_000_000))
    image = {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "x" * (60 << 20)}}]}], "model": "acme/m"}
    check("60 MiB of images before the model", 200, stage.call("/v1/chat/completions", image).status)
    stage.stop()

    stage = stage_of("openai", model, more="[limits]\nheld_bytes = 20000000\n")
    body = form(30 << 20)
    full, connection = begun(stage, "/v1/images/edits", body, stage.key.token())
    check_in("more than all bodies may take", "HTTP/1.1 503", full)
    check_in("and when to come again", "retry-after:", full.lower())
    connection.close()
    check("small requests go on", 200, stage.call("/v1/chat/completions", CHAT).status)
    # Eight callers at once that stop before their model: what is kept of them is bounded.
    before, waiting = stage.memory(), []
    for caller in range(8):
        token = stage.key.token(f"caller-{caller}")
        _, connection = begun(stage, "/v1/images/edits", body, token, 24 << 20)
        waiting.append(connection)
    grown = stage.memory() - before
    check("memory in MiB while eight are waited for", "at most 80", round(grown), grown < 80)
    for connection in waiting:
        connection.close()
    stage.stop()
