"""What all entries share: the proxy with its files, tokens, stand-ins of servers, raw requests, checks."""

import base64
import contextlib
import dataclasses
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://id.example.com"
PROXY = None
ENTRIES, RESULTS, RUNNING = [], [], []


# Entries and checks.

@dataclasses.dataclass
class Entry:
    name: str
    title: str
    run: object

    def order(self):
        """The sort key of an entry: letters before numbers."""
        number = re.match(r"\d+", self.name)
        return (1, int(number[0]), self.name) if number else (0, 0, self.name)


@dataclasses.dataclass
class Result:
    what: str
    expected: object
    got: object
    ok: bool

    def line(self):
        def short(value):
            text = value if isinstance(value, str) else repr(value)
            return text if not self.ok or len(text) < 100 else text[:97] + "…"
        mark = "ok    " if self.ok else "FAILED"
        return f"{mark} {self.what}: expected {short(self.expected)} | got {short(self.got)}"


def entry(name, title):
    """Marks a function as the checks of an entry."""
    def mark(run):
        ENTRIES.append(Entry(name, title, run))
        return run
    return mark


def check(what, expected, got, ok=None):
    """A line of the report. It passes if `got` equals `expected`, or if `ok` is true."""
    RESULTS.append(Result(what, expected, got, expected == got if ok is None else bool(ok)))


def check_in(what, part, whole):
    """Passes if `part` is in `whole`."""
    check(what, f"… {part} …", whole, part in whole)


# Keys and tokens.

class Key:
    """A signing key of an issuer."""

    def __init__(self, kid="k1"):
        self.kid, self.key = kid, ec.generate_private_key(ec.SECP256R1())

    def public(self):
        numbers = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {**numbers, "kid": self.kid, "use": "sig", "alg": "ES256"}

    def token(self, sub="alice", groups=("nlp",), typ="at+jwt", **claims):
        """A signed access token for `models`, valid for an hour; a claim that is None is left out."""
        now = int(time.time())
        said = {"iss": ISSUER, "sub": sub, "aud": "models", "iat": now, "exp": now + 3600,
                "jti": base64.urlsafe_b64encode(os.urandom(9)).decode(), "groups": list(groups),
                **claims}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, self.key, "ES256", headers={"kid": self.kid, "typ": typ})


# Processes and ports.

def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def stop_all():
    while RUNNING:
        RUNNING.pop()()


def until(what, ask, seconds=20):
    """The first truthy result of `ask`; raises after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {seconds} s")


class Stage:
    """A folder with an access, keys and a configuration, and the proxy that serves from it.

    By default: issuer `corp`, an organization with the group `nlp`, and `acme/m`, whose manifest
    grants `caller` to `group:nlp` in production.
    """

    ORGANIZATION = 'environments = ["staging", "production"]\ngroups = ["nlp"]\nissuers = ["corp"]\n'
    MANIFEST = 'model = "acme/m"\nowner = "group:nlp"\n[grants.production]\ncaller = ["group:nlp"]\n'

    def __init__(self, **options):
        self.folder = Path(tempfile.mkdtemp(prefix="corner-"))
        self.key = Key()
        self.port, self.process = free_port(), None
        self.write("jwks.json", json.dumps({"keys": [self.key.public()]}))
        self.write("access/organization.toml", self.ORGANIZATION)
        self.write("access/models/acme/m.toml", self.MANIFEST)
        if options:
            self.configure(**options)
        RUNNING.append(self.stop)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text) if isinstance(text, str) else path.write_bytes(text)
        return path

    def configure(self, surface="openai", upstream="http://127.0.0.1:9", top="", issuer="",
                  access="", ledger='durability = "process_crash"', more_upstream="", more=""):
        """Writes `spanner.toml`: each text is added to its table, `more` to the end."""
        self.write("spanner.toml", f"""
listen = "127.0.0.1:{self.port}"
environment = "production"
{top}
[[issuer]]
name = "corp"
url = "{ISSUER}"
jwks_file = "jwks.json"
audiences = ["models"]
groups = ["groups"]
{issuer}
[access]
dir = "access"
{access}
[ledger]
dir = "ledger"
{ledger}
[[upstream]]
surface = {json.dumps(surface)}
url = "{upstream}"
{more_upstream}
{more}
""")
        return self

    def start(self, wait=True, **environment):
        """Starts the proxy; its log is `self.log()`."""
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [PROXY, "serve", "--config", self.folder / "spanner.toml"], stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": "1", **environment})
        if wait:
            def listening():
                if self.process.poll() is not None:
                    raise RuntimeError(f"the proxy ended:\n{self.log()}")
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", self.port), 1).close()
                    return True
            until("the proxy listens", listening)
        return self

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def run(self, *arguments, stdin=None):
        """Runs a command of the program in the folder; its output has both streams."""
        done = subprocess.run([PROXY, *map(str, arguments)], cwd=self.folder, input=stdin,
                              capture_output=True, text=True, timeout=60,
                              env={**os.environ, "NO_COLOR": "1"})
        return done.returncode, done.stdout, done.stderr

    def call(self, path, body=None, token=None, method=None, headers=()):
        """An HTTP call with the stage's own token, unless one is given (False: none)."""
        token = self.key.token() if token is None else token
        return call(self.url + path, body, token, method, headers)

    def rows(self, *more):
        """The ledger's requests, as `ledger show --json` prints them."""
        code, out, said = self.run("ledger", "show", "ledger", "--json", *more)
        if code:
            raise RuntimeError(said)
        return [json.loads(line) for line in out.splitlines()]

    def memory(self):
        """The proxy's resident memory, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@dataclasses.dataclass
class Reply:
    status: int
    headers: object
    body: str

    def json(self):
        return json.loads(self.body)


class Stay(urllib.request.HTTPRedirectHandler):
    """Redirects are responses here, and not followed."""

    def redirect_request(self, *_):
        return None


def call(url, body=None, token=False, method=None, headers=()):
    """Sends a request; a body that is not bytes is sent as JSON."""
    headers = {name.lower(): value for name, value in dict(headers).items()}
    if body is not None and not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
        headers.setdefault("content-type", "application/json")
    if token:
        headers.setdefault("authorization", f"Bearer {token}")
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
    try:
        with opener.open(request, timeout=40) as answer:
            return Reply(answer.status, answer.headers, answer.read().decode(errors="replace"))
    except urllib.error.HTTPError as refused:
        return Reply(refused.code, refused.headers, refused.read().decode(errors="replace"))


def raw(port, data, seconds=5):
    """The bytes that a socket returns for these bytes, until it closes or `seconds` have passed."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(data)
        connection.settimeout(seconds)
        came = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := connection.recv(65536):
                came += piece
        return came


class Upstream:
    """A stand-in of a model server: `answer(request)` writes the response.

    `answer` gets the handler of `http.server`, with the request's body in `handler.received`; without
    one, everything is answered with a small chat completion. `seen` keeps (method, path, headers, body).
    With `idle`, a connection without a request is closed after so many seconds.
    """

    def __init__(self, answer=None, port=0, idle=None):
        seen = self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = idle

            def handle_any(self):
                length = int(self.headers.get("content-length") or 0)
                chunked = "chunked" in (self.headers.get("transfer-encoding") or "")
                self.received = self.chunks() if chunked else self.rfile.read(length)
                seen.append((self.command, self.path, self.headers, self.received))
                (answer or completion)(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any

            def chunks(self):
                whole = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return whole

            def reply(self, status=200, body=b"", headers=()):
                """Writes a whole response; a body that is not bytes is sent as JSON."""
                self.send_response(status)
                fields = {name.lower(): value for name, value in dict(headers).items()}
                if not isinstance(body, bytes):
                    body = json.dumps(body).encode()
                    fields.setdefault("content-type", "application/json")
                fields.setdefault("content-length", str(len(body)))
                for name, value in fields.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                pass

        server = Server(("127.0.0.1", port), Handler)
        self.port = server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

        def stop():
            server.shutdown()
            server.server_close()
        self.stop = stop
        RUNNING.append(stop)


def completion(handler):
    handler.reply(200, {
        "id": "c", "object": "chat.completion", "created": 1, "model": "acme/m",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": "hello"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})


CHAT = {"model": "acme/m", "messages": [{"role": "user", "content": "hi"}]}
