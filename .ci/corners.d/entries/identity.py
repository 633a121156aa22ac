"""Entries D, G, 3 and a part of 16: tokens, keys, and introspection."""

import json
import os
import secrets
import socket
import threading
import time

import h2.config
import h2.connection
import h2.events

from stage import CHAT, Key, Stage, Upstream, check, check_in, entry, raw, until

COMPLETIONS = "/v1/chat/completions"


def introspected(answer, kept_for="30s", more=""):
    """A proxy that introspects opaque tokens at its issuer; `answer(handler, token)` replies."""
    def reply(handler):
        form = dict(part.split("=", 1) for part in handler.received.decode().split("&"))
        answer(handler, form["token"])
    issuer = Upstream(reply)
    stage = Stage(upstream=Upstream().url, issuer=(
        f'introspection = {{ url = "{issuer.url}/introspect", client_id = "guard", '
        f'client_secret = "s", kept_for = "{kept_for}"{more} }}\ndanger_allow_http_loopback = true'))
    return stage.start(), issuer


def active(handler, **claims):
    now = int(time.time())
    said = {"active": True, "sub": "alice", "aud": "models", "iat": now, "exp": now + 600,
            "groups": ["nlp"], **claims}
    handler.reply(200, {name: value for name, value in said.items() if value is not None})


class Flood:
    """Connections that send made-up tokens, one after the other."""

    def __init__(self, port, connections=90):
        self.port, self.stopped = port, threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(connections)]
        for thread in self.threads:
            thread.start()

    def run(self):
        body = json.dumps(CHAT)
        while not self.stopped.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                    connection.settimeout(10)
                    while not self.stopped.is_set():
                        connection.sendall((
                            f"POST {COMPLETIONS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                            f"authorization: Bearer {secrets.token_hex(16)}\r\n"
                            f"content-length: {len(body)}\r\n\r\n{body}").encode())
                        if not connection.recv(65536):
                            break
            except OSError:
                continue

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(15)


@entry("D", "strangers with made-up opaque tokens, and an issuer that asks for patience")
def strangers():
    known = [f"known-{at:02}-0123456789" for at in range(12)]
    mode = {"patience": False, "forever": False}

    def answer(handler, token):
        if mode["patience"]:
            mode["patience"] = mode["forever"]
            handler.reply(429, {"error": "slow_down"}, {"retry-after": "20"})
        elif token.startswith(("known", "new")):
            active(handler)
        else:
            time.sleep(0.5)
            handler.reply(200, {"active": False})
    stage, issuer = introspected(answer, kept_for="1s")

    def all_served():
        return [stage.call(COMPLETIONS, CHAT, token).status for token in known]
    check("known callers before", [200] * 12, all_served())
    time.sleep(1.1)
    before, flood = len(issuer.seen), Flood(stage.port)
    time.sleep(3)
    check("known callers during a flood", [200] * 12, all_served())
    new = stage.call(COMPLETIONS, CHAT, "new-0123456789abcdef")
    check("a new caller of the same network, who waits with the strangers", 200, new.status)
    flood.stop()
    asked = len(issuer.seen) - before
    check("questions of one network: 24 at once", "at most 600", asked, asked <= 600)

    time.sleep(1.1)
    mode["patience"] = True
    check("a stranger meets 429", 503, stage.call(COMPLETIONS, CHAT, "x" * 20).status)
    check("known callers while strangers are patient", [200] * 12, all_served())
    patient = stage.call(COMPLETIONS, CHAT, "y" * 20)
    check("strangers while the issuer asks for patience", 503, patient.status)
    wait = int(patient.headers.get("retry-after") or 0)
    check("they are told until when", "10 to 20 s", wait, 10 <= wait <= 20)
    time.sleep(1.1)
    mode.update(patience=True, forever=True)
    check("known callers while everybody is to be patient", [200] * 12, all_served())
    asked = len(issuer.seen)
    time.sleep(2)
    all_served()
    asked = len(issuer.seen) - asked
    check("questions in 2 s meanwhile", "at most 4", asked, asked <= 4)


@entry("D", "the same of Hugging Face's tokens, of which some are known")
def hugging_face():
    mode = {"patience": False}

    def answer(handler):
        token = handler.headers["authorization"].removeprefix("Bearer ")
        if mode["patience"]:
            mode["patience"] = False
            handler.reply(429, {}, {"retry-after": "30"})
        elif token.startswith("hf_good"):
            handler.reply(200, {"type": "user", "id": "1", "name": "alice", "orgs": [
                {"name": "acme", "roleInOrg": "admin"}], "auth": {"accessToken": {
                    "role": "read", "createdAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}}})
        else:
            handler.reply(401, {})
    asked = Upstream(answer)
    stage = Stage(upstream=Upstream().url, more=(
        f'[[issuer]]\nname = "hf"\npreset = "hugging_face_whoami"\nurl = "{asked.url}/api/whoami-v2"\n'
        'organizations = ["acme"]\ndanger_allow_http_loopback = true'))
    stage.write("access/organization.toml", (
        'environments = ["staging", "production"]\ngroups = ["corp/nlp"]\nissuers = ["corp", "hf"]\n'))
    stage.write("access/models/acme/m.toml", stage.MANIFEST.replace("group:nlp", "group:corp/nlp"))
    stage.start()
    first = stage.call(COMPLETIONS, CHAT, "hf_good0123456789")
    check("the holder is known and has no grant", 403, first.status)
    mode["patience"] = True
    check("a stranger meets 429", 503, stage.call(COMPLETIONS, CHAT, "hf_bad0123456789").status)
    again = stage.call(COMPLETIONS, CHAT, "hf_good0123456789")
    check("the holder is served all the same", 403, again.status)


@entry("G", "active answers that are not about access tokens")
def kinds():
    said = {}
    stage, _ = introspected(lambda handler, token: active(handler, **said[token]))
    for at, (claims, due) in enumerate([
            ({}, 200), ({"token_type": "Bearer"}, 200), ({"token_use": "access_token"}, 200),
            ({"typ": "Bearer"}, 200),
            ({"token_type": "refresh_token"}, 401), ({"token_type": "Refresh"}, 401),
            ({"token_type": "Bearer", "token_use": "refresh_token"}, 401), ({"token_use": "id"}, 401),
            ({"typ": "Refresh"}, 401), ({"typ": "ID"}, 401), ({"typ": "Offline"}, 401),
            ({"token_type": "N_A"}, 401), ({"token_type": "DPoP"}, 401), ({"nonce": "n"}, 401),
            ({"at_hash": "h"}, 401), ({"nbf": -1}, 401), ({"auth_time": int(time.time()) + 900}, 401)]):
        token = f"token-{at:02}-0123456789"
        said[token] = claims
        check(f"{claims}", due, stage.call(COMPLETIONS, CHAT, token).status)


@entry("G", "times that no token has")
def times():
    stage = Stage(upstream=Upstream().url)
    stage.write("access/policies/fresh.cedar", (
        '@id("fresh") @reason("sign in within five minutes") @step_up_max_age("300")\n'
        'forbid (principal, action, resource)\n'
        'unless { context has authAgeSeconds && context.authAgeSeconds <= 300 };\n'))
    stage.start()
    now = int(time.time())
    for claims, due in [
            ({}, 200), ({"auth_time": now + 30}, 200), ({"auth_time": now + 900}, 401),
            ({"auth_time": (now - 60) * 1000}, 401), ({"auth_time": -1}, 401), ({"auth_time": 1e300}, 401),
            ({"nbf": -1}, 401), ({"nbf": -0.5}, 401), ({"nbf": 0}, 200), ({"nbf": now - 0.5}, 200),
            ({"nbf": 1e300}, 401), ({"nbf": now * 1000}, 401), ({"iat": -1}, 401),
            ({"iat": now * 1000}, 401), ({"exp": -1}, 401), ({"exp": 1e300}, 401),
            ({"token_use": "refresh"}, 401), ({"token_use": "id"}, 401)]:
        token = stage.key.token(**{"auth_time": now - 10, **claims})
        check(f"{claims}", due, stage.call(COMPLETIONS, CHAT, token).status)
    for claims in [{"auth_time": now - 900}, {"auth_time": None}]:
        reply = stage.call(COMPLETIONS, CHAT, stage.key.token(**claims))
        challenge = reply.headers.get("www-authenticate") or ""
        check_in(f"{claims} is asked to sign in", "insufficient_user_authentication", challenge)


def over_http2(port, path, token):
    """The status of a request with this `:path`, or `reset`."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.settimeout(10)
        checks = h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False)
        client = h2.connection.H2Connection(config=checks)
        client.initiate_connection()
        body = json.dumps(CHAT).encode()
        client.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":authority", "x"),
                                (":path", path), ("content-type", "application/json"),
                                ("authorization", f"Bearer {token}")])
        client.send_data(1, body, end_stream=True)
        sock.sendall(client.data_to_send())
        while data := sock.recv(65536):
            for event in client.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    return int(dict(event.headers)[b":status"])
                if isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    return "reset"
            sock.sendall(client.data_to_send())
        return "reset"


@entry("G", "fragments and other targets that libraries put right")
def targets():
    model = Upstream()
    stage = Stage(upstream=model.url).start()
    token, body = stage.key.token(), json.dumps(CHAT)

    def over_http1(target):
        came = raw(stage.port, (
            f"POST {target} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"authorization: Bearer {token}\r\ncontent-length: {len(body)}\r\n\r\n{body}").encode())
        return int(came.split(b" ")[1]) if came else "reset"
    check("HTTP/1.1", 200, over_http1(COMPLETIONS))
    check("HTTP/2", 200, over_http2(stage.port, COMPLETIONS, token))
    before = len(model.seen)
    for target in [f"{COMPLETIONS}#", f"{COMPLETIONS}#x", f"{COMPLETIONS}?a=b#x", f"{COMPLETIONS}#/../x"]:
        check(f"HTTP/1.1 {target}", 400, over_http1(target))
        got = over_http2(stage.port, target, token)
        check(f"HTTP/2 {target}", "reset or 400", got, got in ("reset", 400))
    for target in ["?a=b", "#x"]:
        got = over_http2(stage.port, target, token)
        check(f"HTTP/2 {target}", "reset or 400", got, got in ("reset", 400))
    check("nothing of these was forwarded", before, len(model.seen))
    # The body keeps what looks like a target.
    said = json.dumps({**CHAT, "messages": [{"role": "user", "content": "GET /# HTTP/1.1"}]})
    stage.call(COMPLETIONS, said)
    check_in("a body keeps its characters", b"GET /# HTTP/1.1", model.seen[-1][3])


@entry("3", "a key that is taken out of its file")
def removed_key():
    stage = Stage(upstream=Upstream().url).start()
    old, other = stage.key, Key("k2")
    token = old.token()
    served = [stage.call(COMPLETIONS, CHAT, token).status for _ in range(3)]
    check("before", [200] * 3, served)
    stage.write("jwks.json", json.dumps({"keys": [other.public()]}))
    stage.hang_up()

    def status(of):
        return stage.call(COMPLETIONS, CHAT, of).status
    until("the new key counts", lambda: status(other.token()) == 200)
    check("a token of the old key, which was verified before", 401, status(token))
    check("another of the old key", 401, status(old.token()))
    stage.write("jwks.json", "{")
    until("the log names the file", lambda: "those before stay in use" in stage.log())
    check_in("with its name", "jwks.json", stage.log())
    check("a broken file changes nothing", 200, status(other.token()))
    stage.write("jwks.json", json.dumps({"keys": [old.public()]}))
    until("read again without a signal", lambda: status(old.token()) == 200)
    check("and the other is out", 401, status(other.token()))


@entry("3", "credentials and secrets of files; what is read at start only")
def files():
    seen = []

    def introspect(handler):
        seen.append(handler.headers["authorization"])
        active(handler)
    issuer, model = Upstream(introspect), Upstream()
    stage = Stage(upstream=model.url, more_upstream='credential = { file = "token" }', issuer=(
        f'introspection = {{ url = "{issuer.url}/i", client_id = "g", client_secret_file = "secret", '
        'kept_for = "0s" }\ndanger_allow_http_loopback = true'))
    stage.write("token", "one\n")
    stage.write("secret", "one\n")
    stage.start()

    def sent():
        stage.call(COMPLETIONS, CHAT, "opaque-0123456789")
        return model.seen[-1][2]["authorization"], seen[-1]
    model_one, issuer_one = sent()
    check("the upstream's credential", "Bearer one", model_one)
    stage.write("token", "two\n")
    stage.write("secret", "two\n")
    until("both are read again", lambda: sent()[0] == "Bearer two" and sent()[1] != issuer_one)
    text = (stage.folder / "spanner.toml").read_text()
    stage.write("spanner.toml", text + "# more\n")
    until("a change of the configuration is told", lambda: "read at start only" in stage.log())
    check_in("with the file's name", "spanner.toml", stage.log())


@entry("16", "rotations that follow one another, beside guesses")
def rotations():
    keys, fetched = [Key("r0")], []

    def publish(handler):
        fetched.append(time.monotonic())
        handler.reply(200, {"keys": [key.public() for key in keys]})
    issuer = Upstream(publish)
    stage = Stage(upstream=Upstream().url)
    text = (stage.folder / "spanner.toml").read_text()
    text = text.replace('jwks_file = "jwks.json"', (
        f'jwks_url = "{issuer.url}/keys"\ndanger_allow_http_loopback = true'))
    stage.write("spanner.toml", text)
    stage.start()
    check("before", 200, stage.call(COMPLETIONS, CHAT, keys[0].token()).status)
    for rotation in range(1, 4):
        keys.append(Key(f"r{rotation}"))
        got = stage.call(COMPLETIONS, CHAT, keys[-1].token()).status
        check(f"rotation {rotation}, at once", 200, got)
    check("one fetch each", 4, len(fetched))
    start = time.monotonic()
    guesses = [stage.call(COMPLETIONS, CHAT, Key(f"guess-{os.urandom(4).hex()}").token()).status
               for _ in range(200)]
    check("guesses are refused", [401] * 200, guesses)
    took = time.monotonic() - start
    extra, most = len(fetched) - 4, 1 + int(took // 30)
    check(f"fetches for guesses in {took:.0f} s", f"at most {most}", extra, extra <= most)
