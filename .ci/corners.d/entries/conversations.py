"""Credentials during a conversation, refused tokens, and whose failure is reported."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import socket
import struct
import time

from stage import CHAT, Stage, Upstream, check, check_in, entry, until

EXPIRED = {"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200}
REVOCATIONS = '[revocations]\nfile = "revocations.toml"\n'
OUTLIVE = '[limits]\noutlive = "2s"\n' + REVOCATIONS
#: How long to wait for an end: the bound, the interval of reading the file, and a slow machine.
PATIENCE = 15


# WebSockets, by hand, to see each frame.

class Socket:
    """A WebSocket client that reports how it was closed."""

    def __init__(self, port, path, token):
        self.stream = socket.create_connection(("127.0.0.1", port), 5)
        key = base64.b64encode(os.urandom(16)).decode()
        self.stream.sendall((
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n").encode())
        self.file = self.stream.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        while self.file.readline().strip():
            pass

    def say(self, message):
        data = json.dumps(message).encode()
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))
        length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
        self.stream.sendall(b"\x81" + length + mask + masked)

    def hear(self, seconds=PATIENCE):
        """The next frame, as (opcode, data); None if nothing comes."""
        self.stream.settimeout(seconds)
        with contextlib.suppress(OSError):
            head = self.file.read(2)
            if len(head) < 2:
                return None
            length = head[1] & 0x7F
            if length == 126:
                length = struct.unpack("!H", self.file.read(2))[0]
            return head[0] & 0x0F, self.file.read(length)
        return None

    def closed(self):
        """The code and the reason of the close frame."""
        while frame := self.hear():
            if frame[0] == 8:
                return struct.unpack("!H", frame[1][:2])[0], frame[1][2:].decode()
        return None, "no close frame"


def realtime(handler):
    """An upstream that accepts a WebSocket and sends nothing while it is open."""
    key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    handler.send_response(101)
    for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"),
                        ("Sec-WebSocket-Accept", accept)):
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.flush()
    while handler.connection.recv(65536):
        pass
    handler.close_connection = True


def events(handler):
    """A stream of events that never ends."""
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"a\r\ndata: {}\n\n\r\n")
            handler.wfile.flush()
            time.sleep(0.2)


def revoke(stage, token_id):
    stage.write("revocations.toml", f'[[token]]\nissuer = "corp"\nid = "{token_id}"\n')
    stage.hang_up()


def lose_by_revocation(stage, token, token_id):
    revoke(stage, token_id)
    until("a fresh call is refused", lambda: stage.call("/v1/models", token=token).status == 401)


def lose_by_access(stage, token, token_id):
    stage.write("access/models/acme/m.toml", stage.MANIFEST.replace("caller", "reader"))
    stage.hang_up()
    until("a fresh call is refused",
          lambda: stage.call("/v1/chat/completions", CHAT, token).status == 403)


def lose_by_time(stage, token, token_id):
    """The token of `prepared` expires."""


LOSSES = [("revoked", lose_by_revocation, "token.revoked", "the access token was revoked"),
          ("expired", lose_by_time, "token.expired", "the access token expired at 20"),
          ("not granted any more", lose_by_access, "authz.no_permit", "may not generate on `acme/m`")]


def prepared(model, lose, more=OUTLIVE):
    """A stage with a short bound, and a token that expires soon if the check needs it."""
    stage = Stage(upstream=model.url, issuer='clock_skew = "1s"', more=more)
    stage.write("revocations.toml", "")
    stage.write("access/models/acme/m2.toml", stage.MANIFEST.replace("acme/m", "acme/m2"))
    life = 4 if lose is lose_by_time else 600
    return stage.start(), stage.key.token(jti="t-1", exp=int(time.time()) + life)


@entry("C", "a socket whose credential was revoked decides nothing more")
def frames():
    model = Upstream(realtime)
    stage, token = prepared(model, lose_by_revocation, REVOCATIONS)
    talk = Socket(stage.port, "/v1/responses", token)
    check("the socket opens", 101, talk.status)
    talk.say({"type": "response.create", "model": "acme/m"})
    until("the first message is decided", lambda: len(stage.rows()) > 1)
    revoke(stage, "t-1")
    until("a fresh call is refused", lambda: stage.call("/v1/models", token=token).status == 401)
    talk.say({"type": "response.create", "model": "acme/m2"})
    code, reason = talk.closed()
    check("the close code", 1008, code)
    check_in("the reason", "revoked", reason)
    stage.stop()
    decided = [(pair.get("model"), row["decision"]["effect"], row["decision"]["reason"])
               for row in stage.rows() for pair in row["decision"].get("target", [])]
    check("what was decided", [("acme/m", "allow", "granted"), ("acme/m2", "deny", "token.revoked")],
          [it for it in decided if it[0]])


@entry("C", "sockets and streams end within the bound, and say why")
def ends():
    for about, lose, code, says in LOSSES:
        model = Upstream(realtime)
        stage, token = prepared(model, lose)
        talk = Socket(stage.port, "/v1/realtime?model=acme/m", token)
        check(f"{about}: the socket opens", 101, talk.status)
        lose(stage, token, "t-1")
        began = time.monotonic()
        closed, reason = talk.closed()
        check(f"{about}: the silent socket is closed", 1008, closed)
        check_in(f"{about}: its reason", says.split("`")[0], reason)
        check(f"{about}: in time", f"within {PATIENCE} s", time.monotonic() - began,
              time.monotonic() - began < PATIENCE)
        stage.stop()
        outcomes = [row["outcome"] for row in stage.rows() if (row["outcome"] or {}).get("reason")]
        check(f"{about}: the outcome", [("refused", code)],
              [(outcome["finish"], outcome["reason"]) for outcome in outcomes])

    for about, lose, code, says in LOSSES:
        model = Upstream(events)
        stage, token = prepared(model, lose)
        connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=PATIENCE)
        connection.request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True}),
                           {"content-type": "application/json", "authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        check(f"{about}: the stream begins", 200, answer.status)
        lose(stage, token, "t-1")
        said, end = b"", time.monotonic() + PATIENCE
        with contextlib.suppress(http.client.HTTPException, OSError):
            while time.monotonic() < end and (piece := answer.read1(65536)):
                said += piece
        check(f"{about}: the stream ends", True, time.monotonic() < end)
        last = said.decode().strip().rsplit("data: ", 1)[-1]
        check_in(f"{about}: its last event", says, last)
        stage.stop()
        outcomes = [row["outcome"] for row in stage.rows() if (row["outcome"] or {}).get("reason")]
        # Those that asked whether the change counts may have begun a stream, too.
        check(f"{about}: the outcome of the stream", {("refused", "refused", code)},
              {(outcome["class"], outcome["finish"], outcome["reason"]) for outcome in outcomes})


@entry("8", "an unknown path is attributed whatever carries the token")
def carriers():
    for surface, header, value in [
            ("azure-openai", "api-key", "{}"), ("anthropic", "x-api-key", "{}"),
            ("gemini", "x-goog-api-key", "{}"), ("hf-hub", "authorization", "Bearer hf_{}"),
            ("git-http", "authorization", "Basic"), ("azure-openai", "authorization", "Bearer {}"),
            ("openai", "sec-websocket-protocol", "realtime, openai-insecure-api-key.{}")]:
        stage = Stage(surface=surface).start()
        token = stage.key.token()
        basic = "Basic " + base64.b64encode(f"x:{token}".encode()).decode()
        sent = basic if value == "Basic" else value.format(token)
        reply = stage.call("/no/such/api", token=False, headers={header: sent})
        check(f"{surface}, {header}", (403, "unknown_route"),
              (reply.status, reply.headers["spanner-fault"]))
        stage.stop()
        row = stage.rows()[0]["decision"]
        check(f"{surface}, {header}: recorded", ("route.unmapped", "alice"),
              (row["reason"], row.get("caller", {}).get("subject")))


@entry("13", "an upstream that rejects the proxy's credential")
def rejections():
    answers = {
        "401": (401, {"www-authenticate": 'Bearer realm="upstream"'}, 502),
        "401 without a challenge": (401, {}, 502),
        "407": (407, {"proxy-authenticate": "Basic"}, 502),
        "403 with a challenge": (403, {"www-authenticate": 'Bearer error="insufficient_scope"'}, 502),
        "403 for another reason": (403, {}, 403),
        "403 that only its body explains": (403, {"x-body": "permission_error"}, 502),
        "404": (404, {"www-authenticate": "Bearer"}, 404),
    }
    for configured in (True, False):
        for about, (status, headers, due) in answers.items():
            def answer(handler, status=status, headers=headers):
                kind = headers.get("x-body", "no")
                handler.reply(status, {"type": "error", "error": {"type": kind}}, headers)
            model = Upstream(answer)
            credential = 'credential = { file = "upstream.key" }' if configured else ""
            stage = Stage(upstream=model.url, more_upstream=credential)
            stage.write("upstream.key", "proxy")
            stage.start()
            reply = stage.call("/v1/chat/completions", CHAT)
            what = f"{about}, {'with' if configured else 'without'} a credential"
            check(what, (due, None, "model"), (reply.status, reply.headers["www-authenticate"],
                                               reply.headers["spanner-fault"]))
            if due == 502:
                check_in(f"{what}: the sentence", "operator", reply.body)
            stage.stop()
            outcome = stage.rows()[0]["outcome"]
            check(f"{what}: recorded", "model_failed" if due == 502 else "caller_error",
                  outcome["class"])


@entry("14", "what the holder of a refused token is told, and what is recorded")
def told():
    stage = Stage(more=REVOCATIONS)
    stage.write("revocations.toml", '[[token]]\nissuer = "corp"\nid = "t-9"\n')
    stage.start()
    until("the keys are at hand", lambda: stage.call("/v1/models").status != 503)
    forged = stage.key.token(**EXPIRED)[:-4] + "AAAA"
    rows = [("expired", stage.key.token(**EXPIRED), "expired at 20", "token.expired", "alice"),
            ("another audience", stage.key.token(aud="else"), "meant for another audience",
             "token.aud", "alice"),
            ("revoked", stage.key.token(jti="t-9"), "was revoked", "token.revoked", "alice"),
            ("expired and forged", forged, "is not accepted", "token.expired", None),
            ("garbage", "a.b.c", "is not accepted", "token.malformed", None)]
    seen = {}
    for about, token, says, _, _ in rows:
        reply = stage.call("/v1/chat/completions", CHAT, token)
        identifier = seen[about] = reply.headers["x-request-id"]
        check(f"{about}: status", 401, reply.status)
        check_in(f"{about}: the message", says, reply.json()["error"]["message"])
        check_in(f"{about}: the identifier in it", identifier, reply.json()["error"]["message"])
        check_in(f"{about}: the challenge", says, reply.headers["www-authenticate"])
        check(f"{about}: the identifier", reply.headers["spanner-decision"], identifier)
    stage.stop()
    records = {row["decision"]["id"]: row["decision"] for row in stage.rows()}
    for about, _, _, reason, owner in rows:
        record = records[seen[about]]
        named = record["credential"].get("owner", {}).get("subject")
        check(f"{about}: recorded", (reason, owner), (record["reason"], named))
