"""Places, turns and memory: an idle holder does not keep them from others."""

import base64
import contextlib
import hashlib
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from stage import CHAT, RUNNING, Stage, Upstream, check, check_in, entry, raw

OIP = "/inference.GRPCInferenceService/"
REALTIME = "/v1/realtime?model=acme/m"
# Longer than any honest response takes here, and shorter than any deadline after which a holder loses
# its place.
SOON = 8


# HTTP/2 by hand.

class Http2:
    """A client connection that sends only the frames that a check asks for."""

    def __init__(self, port, window=None):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        if window is not None:
            self.h2.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = window
        self.h2.initiate_connection()
        self.authority = f"127.0.0.1:{port}"
        self.answers, self.ended = {}, False
        self.flush()

    def flush(self):
        with contextlib.suppress(OSError):
            self.socket.sendall(self.h2.data_to_send())

    def ask(self, path, token=None, body=None, end=True, method="POST", **headers):
        """Sends a request's head, and its body if there is one; returns the stream."""
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":authority", self.authority),
                  (":path", path)]
        fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
        if token:
            fields.append(("authorization", f"Bearer {token}"))
        self.h2.send_headers(stream, fields, end_stream=end and body is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=end)
        return stream

    def read(self, seconds, enough=lambda answers: False, acknowledge=True):
        """Reads for a while, or until `enough`: {stream: {header: value}}."""
        end = time.monotonic() + seconds
        while not self.ended and not enough(self.answers) and time.monotonic() < end:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                came = self.socket.recv(65536)
                events = self.h2.receive_data(came) if came else [h2.events.ConnectionTerminated()]
            except TimeoutError:
                break
            except (OSError, h2.exceptions.ProtocolError):
                events = [h2.events.ConnectionTerminated()]
            for event in events:
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    self.answers.setdefault(event.stream_id, {}).update(event.headers)
                elif isinstance(event, h2.events.DataReceived) and acknowledge:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self.answers.setdefault(event.stream_id, {})["ended"] = "yes"
                elif isinstance(event, h2.events.ConnectionTerminated):
                    self.ended = True
            self.flush()
        return self.answers

    def close(self):
        self.socket.close()


class Grpc:
    """A gRPC server over HTTP/2: answers each whole request with an empty message."""

    def __init__(self, answer=b"\0\0\0\0\0"):
        self.answer, self.open = answer, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()
        RUNNING.append(self.listener.close)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.local_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 1 << 20
        connection.initiate_connection()
        waiting = {}

        def pump():
            for stream, left in list(waiting.items()):
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    while left:
                        room = min(connection.local_flow_control_window(stream),
                                   connection.max_outbound_frame_size, len(left))
                        if room <= 0:
                            break
                        connection.send_data(stream, left[:room])
                        left = left[room:]
                    waiting[stream] = left
                    if not left:
                        connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)
                        del waiting[stream]
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            client.sendall(connection.data_to_send())
            while came := client.recv(65536):
                for event in connection.receive_data(came):
                    if isinstance(event, h2.events.RequestReceived):
                        self.open += 1
                    elif isinstance(event, h2.events.DataReceived):
                        connection.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2.events.StreamReset):
                        waiting.pop(event.stream_id, None)
                        self.open -= 1
                    elif isinstance(event, h2.events.StreamEnded):
                        connection.send_headers(event.stream_id, [
                            (":status", "200"), ("content-type", "application/grpc")])
                        waiting[event.stream_id] = self.answer
                        self.open -= 1
                pump()
                client.sendall(connection.data_to_send())


def infer(model=b"acme/m"):
    message = b"\x0a" + bytes([len(model)]) + model
    return b"\0" + struct.pack(">I", len(message)) + message


def grpc_call(port, method, body=b"\0\0\0\0\0", token=None, seconds=SOON):
    """The gRPC status of a call, or "none" if none arrives soon."""
    client = Http2(port)
    stream = client.ask(OIP + method, token, body, content_type="application/grpc", te="trailers")
    client.flush()
    answers = client.read(seconds, lambda answers: "grpc-status" in answers.get(stream, {}))
    client.close()
    return answers.get(stream, {}).get("grpc-status", "none")


def honest(stage, token=None, path="/v1/chat/completions", body=CHAT):
    """The status of an honest call, or "none" if none arrives soon."""
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(stage.call, path, body, token).result(SOON).status
        except Exception as error:  # whatever came instead
            return f"none ({type(error).__name__})"


def hold(port, connections, streams, path, **request):
    """Request heads without a body, on many streams of many connections."""
    opened = []
    for _ in range(connections):
        client = Http2(port)
        for _ in range(streams):
            client.ask(path, end=False, **request)
        client.flush()
        client.read(0.1)
        opened.append(client)
    return opened


def answered(opened, seconds=2):
    """The responses on all of them."""
    for client in opened:
        client.read(seconds / len(opened) + 0.05)
    return [answer for client in opened for answer in client.answers.values()]


def close(opened):
    for client in opened:
        client.close()


def websocket(port, path, token, receive_buffer=None):
    """An open WebSocket, or the status of the answer."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    client.sendall((f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
                    f"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
                    f"sec-websocket-key: {key}\r\n\r\n").encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = client.recv(1)
        if not piece:
            break
        head += piece
    status = int(head.split(b" ")[1]) if head else 0
    return client if status == 101 else status


def masked(opcode, payload):
    """A frame of a client."""
    mask = os.urandom(4)
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else \
        bytes([0x80 | 126]) + struct.pack(">H", len(payload))
    return bytes([0x80 | opcode]) + length + mask + body


class Talker:
    """A WebSocket server by hand: accepts every connection, and then calls `talk`."""

    def __init__(self, talk):
        self.talk, self.opened = talk, []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()
        RUNNING.append(self.stop)

    def stop(self):
        self.listener.close()
        for client in self.opened:
            client.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.opened.append(client)
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError, StopIteration):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            lines = head.decode(errors="replace").lower()
            if "upgrade: websocket" not in lines:
                body = b'{"object":"list","data":[]}'
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                               b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                client.close()
                return
            key = next(line.split(":", 1)[1].strip() for line in head.decode().split("\r\n")
                       if line.lower().startswith("sec-websocket-key:"))
            accept = base64.b64encode(hashlib.sha1(
                (key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
            client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
                           b"connection: Upgrade\r\nsec-websocket-accept: " + accept + b"\r\n\r\n")
            self.talk(client)


def silent(client):
    while client.recv(65536):
        pass


def pushed(client, data, seconds):
    """Sends the same bytes repeatedly for a while, as fast as possible; returns their number."""
    sent, end = 0, time.monotonic() + seconds
    client.settimeout(0.5)
    with contextlib.suppress(OSError):
        while time.monotonic() < end:
            try:
                sent += client.send(data)
            except TimeoutError:
                pass
    return sent


def grown(what, stage, attack, limit=64):
    """Checks that the memory of the proxy grows by a few MiB at most meanwhile."""
    before, over = stage.memory(), threading.Event()
    most = [before]

    def watch():
        while not over.wait(0.1):
            most[0] = max(most[0], stage.memory())
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        attack()
    finally:
        over.set()
        watcher.join()
    most[0] = max(most[0], stage.memory())
    more = round(most[0] - before)
    check(what, f"less than {limit} MiB more", f"{more} MiB more", more < limit)


def processor(stage):
    """The CPU time of the proxy so far, in seconds."""
    fields = Path(f"/proc/{stage.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# The entries.

@entry("A", "heads without bodies hold nothing that others need")
def places():
    public_grpc()
    probes()
    bodies()
    administration()
    http1()
    slow()
    unread()
    sockets()
    connections()


def public_grpc():
    server = Grpc()
    stage = Stage(surface="oip-grpc", upstream=server.url).start()
    token = stage.key.token()
    check("gRPC before", "0", grpc_call(stage.port, "ModelInfer", infer(), token))
    opened = hold(stage.port, 5, 230, OIP + "ServerLive", content_type="application/grpc",
                  te="trailers")
    check("an inference during 1,150 probes without a body", "0",
          grpc_call(stage.port, "ModelInfer", infer(), token))
    check("a probe during them", "0", grpc_call(stage.port, "ServerLive"))
    check("of them, the model server sees", 0, server.open)
    refused = [it for it in answered(opened) if it.get("grpc-status") == "8"]
    check("those over the connection's share", "more than 900 RESOURCE_EXHAUSTED",
          f"{len(refused)} RESOURCE_EXHAUSTED", len(refused) > 900)
    one = refused[0] if refused else {}
    check("whose failure", "guard_unavailable", one.get("spanner-fault"))
    check_in("which share", "this connection", one.get("grpc-message", ""))
    close(opened)
    # A message that is begun and not ended.
    opened = []
    for _ in range(40):
        client = Http2(stage.port)
        for _ in range(30):
            client.ask(OIP + "ServerLive", body=b"\0\0", end=False, content_type="application/grpc")
        client.flush()
        opened.append(client)
    time.sleep(1)
    check("an inference during 1,200 probes that are begun", "0",
          grpc_call(stage.port, "ModelInfer", infer(), token))
    check("a probe during them", "0", grpc_call(stage.port, "ServerLive"))
    close(opened)
    # Decided, whole, and not ended.
    opened = []
    for _ in range(5):
        client = Http2(stage.port)
        for _ in range(230):
            client.ask(OIP + "ModelInfer", stage.key.token("bob"), infer(), end=False,
                       content_type="application/grpc")
        client.flush()
        opened.append(client)
    time.sleep(1)
    check("an inference during 1,150 of somebody else that do not end", "0",
          grpc_call(stage.port, "ModelInfer", infer(), token))
    close(opened)
    stage.stop()


def probes():
    stage = Stage(surface=["generic", "openai"], upstream=Upstream().url).start()
    opened = []
    for _ in range(8):
        client = Http2(stage.port, 0)
        for _ in range(32):
            client.ask("/healthz", method="GET")
        client.flush()
        opened.append(client)
    time.sleep(1)
    check("a probe while nobody reads the answers of 256 others", 200,
          honest(stage, False, "/healthz", None))
    check("a call during them", 200, honest(stage))
    close(opened)
    stage.stop()


HELD = {"content_type": "application/json", "content_length": "50"}


def bodies():
    stage = Stage(upstream=Upstream().url).start()
    worthless = stage.key.token("mallory", groups=())
    opened = hold(stage.port, 9, 240, "/v1/chat/completions", token=worthless, **HELD)
    check("a call during 2,160 without a body", 200, honest(stage))
    refused = [it for it in answered(opened) if it.get(":status") == "429"]
    check("those over the caller's share", "more than 1,500 of 429", f"{len(refused)} of 429",
          len(refused) > 1500)
    one = refused[0] if refused else {}
    check("whose failure, and when to try again", ("guard_unavailable", "1"),
          (one.get("spanner-fault"), one.get("retry-after")))
    close(opened)
    opened = []
    for name in "abcdefg":
        token = stage.key.token(f"mallory-{name}", groups=())
        opened += hold(stage.port, 2, 240, "/v1/chat/completions", token=token, **HELD)
    check("a call during 3,360 without a body of seven callers", 200, honest(stage))
    check("and its caller's next", 200, honest(stage))
    close(opened)
    opened = hold(stage.port, 9, 240, "/v1/chat/completions", **HELD)
    check("a call during 2,160 without a token", 200, honest(stage))
    close(opened)
    opened = hold(stage.port, 9, 240, "/v1/models", token=worthless, **HELD)
    check("a call during 2,160 of a list", 200, honest(stage))
    close(opened)
    stage.stop()


def administration():
    stage = Stage(upstream=Upstream().url).start()
    worthless = stage.key.token("mallory", groups=())
    opened = hold(stage.port, 9, 240, "/spanner/v1/explain", token=worthless, **HELD)
    check("a call during 2,160 of the administration without a body", 200, honest(stage))
    check("the administration during them", 200,
          honest(stage, path="/spanner/v1/models", body=None))
    close(opened)
    stage.stop()


def http1():
    stage = Stage(upstream=Upstream().url, top="max_requests = 60\nmax_connections = 200").start()
    opened = []
    for name in range(150):
        token = stage.key.token(f"mallory-{name % 5}", groups=())
        client = socket.create_connection(("127.0.0.1", stage.port), 5)
        client.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/"
                       f"json\r\nauthorization: Bearer {token}\r\ncontent-length: 50\r\n\r\n"
                       .encode())
        opened.append(client)
    check("a call during 150 over HTTP/1.1 without a body, of 60 turns", 200, honest(stage))
    close(opened)
    stage.stop()


def slow():
    lines = '[limits]\nbody_wait = "4s"\nbody_pause = "2s"'
    stage = Stage(upstream=Upstream().url, more=lines).start()
    token = stage.key.token()
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {token}\r\ncontent-length: {{}}\r\n\r\n")
    came = raw(stage.port, head.format(50).encode(), seconds=SOON)
    check_in("a body that never begins", "HTTP/1.1 408 ", came.decode(errors="replace")[:80])
    came = raw(stage.port, head.format(50).encode() + b'{"model"', seconds=SOON)
    check_in("a body that stops", "HTTP/1.1 408 ", came.decode(errors="replace")[:80])

    def dripped(beginning, seconds):
        with socket.create_connection(("127.0.0.1", stage.port), 5) as client:
            client.sendall(beginning)
            client.settimeout(1)
            end, came = time.monotonic() + seconds, b""
            while time.monotonic() < end and b"\r\n\r\n" not in came:
                try:
                    client.sendall(b" ")
                    piece = client.recv(4096)
                    if not piece:
                        break
                    came += piece
                except TimeoutError:
                    pass
                except OSError:
                    break
            return came.decode(errors="replace")[:80]
    check_in("a body that drips", "HTTP/1.1 408 ",
             dripped(head.format(50).encode() + b"{", 2 * SOON))
    large = b'{"model": "acme/m", "x": "' + b"x" * (9 << 20)
    check_in("a large body, decided, that drips", "HTTP/1.1 408 ",
             dripped(head.format(20 << 20).encode() + large, 3 * SOON))
    check("a call after that", 200, honest(stage))
    stage.stop()


def unread():
    def long(handler):
        handler.send_response(200)
        handler.send_header("content-type", "text/plain")
        handler.send_header("connection", "close")
        handler.end_headers()
        with contextlib.suppress(OSError):
            if handler.path.endswith("completions") and b"short" not in handler.received:
                for _ in range(4000):
                    handler.wfile.write(b"x" * 16384)
        handler.close_connection = True
    stage = Stage(upstream=Upstream(long).url, more_upstream="max_requests = 16",
                  more='[limits]\nstall = "3s"').start()
    bob = stage.key.token("bob")
    body = b'{"model": "acme/m", "messages": []}'
    for what, window in [("over HTTP/2, no window", 0), ("over HTTP/2, a window", 65535)]:
        opened = [Http2(stage.port, window) for _ in range(4)]
        for client in opened:
            for _ in range(10):
                client.ask("/v1/chat/completions", bob, body, content_type="application/json")
            client.flush()
        time.sleep(1)
        check(f"a call while somebody reads none of 40 answers {what}", 200,
              honest(stage, body={**CHAT, "user": "short"}))
        time.sleep(5)
        check("somebody's own next, once they are given up", 200,
              honest(stage, bob, body={**CHAT, "user": "short"}))
        close(opened)
    opened = []
    for _ in range(40):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", stage.port))
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer "
                       + bob.encode() + b"\r\ncontent-type: application/json\r\ncontent-length: "
                       + str(len(body)).encode() + b"\r\n\r\n" + body)
        opened.append(client)
    time.sleep(1)
    check("a call while somebody reads none of 40 answers over HTTP/1.1", 200,
          honest(stage, body={**CHAT, "user": "short"}))
    close(opened)
    stage.stop()
    # One connection to the model server is for all: who does not read must not close its window.
    stage = Stage(surface="oip-grpc", upstream=Grpc(b"\0\0\x10\0\0" + b"x" * (1 << 20)).url).start()
    opened = []
    for _ in range(4):
        client = Http2(stage.port, 0)
        for _ in range(60):
            client.ask(OIP + "ModelInfer", stage.key.token("bob"), infer(),
                       content_type="application/grpc")
        client.flush()
        opened.append(client)
    time.sleep(2)
    check("an inference while somebody reads none of 240 answers", "0",
          grpc_call(stage.port, "ModelInfer", infer(), stage.key.token()))
    close(opened)
    stage.stop()


def sockets():
    model = Talker(silent)
    stage = Stage(upstream=model.url, more_upstream="max_requests = 32",
                  more='[limits]\nbody_wait = "3s"\nidle = "6s"').start()
    bob, worthless = stage.key.token("bob"), stage.key.token("mallory", groups=())
    opened = [websocket(stage.port, REALTIME, bob) for _ in range(20)]
    check("sockets of one caller that are opened", "some, and not all",
          f"{sum(isinstance(it, socket.socket) for it in opened)} of 20",
          0 < sum(isinstance(it, socket.socket) for it in opened) < 20)
    check("a call while somebody holds sockets", 200, honest(stage))
    mine = websocket(stage.port, REALTIME, stage.key.token())
    check("a socket of somebody else", True, isinstance(mine, socket.socket))
    nameless = websocket(stage.port, "/v1/realtime", worthless)
    if isinstance(nameless, socket.socket):
        nameless.settimeout(2 * SOON)
        came = nameless.recv(256)
        check_in("a socket in which no model is named", b"nothing was said", came)
    else:
        check("a socket in which no model is named", "is refused", f"is refused with {nameless}",
              400 <= nameless < 600)
    mine.settimeout(2 * SOON)
    check_in("a socket in which nothing is said", b"nothing was said", mine.recv(256))
    close([it for it in opened if isinstance(it, socket.socket)])
    stage.stop()


def connections():
    stage = Stage(upstream=Upstream().url, top="max_connections = 60").start()
    opened = []
    for _ in range(300):
        with contextlib.suppress(OSError):
            opened.append(socket.create_connection(("127.0.0.1", stage.port), 5))
    check("a call during 300 idle connections, of 60", 200, honest(stage))
    close(opened)
    opened = []
    for _ in range(100):
        with contextlib.suppress(OSError):
            opened.append(Http2(stage.port))
    check("a call during 100 idle connections over HTTP/2, of 60", 200, honest(stage))
    close(opened)
    opened = []
    for _ in range(100):
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            client = Http2(stage.port)
            client.ask("/v1/chat/completions", stage.key.token("bob", groups=()), end=False, **HELD)
            client.flush()
            opened.append(client)
    check("a call during 100 connections with a body to come, of 60", 200, honest(stage))
    close(opened)
    stage.stop()


@entry("B", "what is not read does not pile up")
def memory():
    pings()
    messages()
    fragments()
    pipelines()
    answers()
    buffered()


def pings():
    model = Talker(silent)
    stage = Stage(upstream=model.url).start()
    token = stage.key.token()
    for what, frame in [("pings of 120 bytes", masked(9, b"x" * 120)), ("empty pings", masked(9, b"")),
                        ("pongs", masked(10, b"x" * 120))]:
        client = websocket(stage.port, REALTIME, token, 4096)
        grown(f"{what}, replies never read", stage,
              lambda: pushed(client, frame * 2000, 5))
        client.close()
    stage.stop()

    def pinging(client):
        pushed(client, (b"\x89\x78" + b"x" * 120) * 2000, 5)
    stage = Stage(upstream=Talker(pinging).url).start()
    client = websocket(stage.port, REALTIME, stage.key.token())
    grown("pings of a model server", stage, lambda: time.sleep(5))
    client.close()
    stage.stop()


def messages():
    def deaf(_):
        time.sleep(30)
    stage = Stage(upstream=Talker(deaf).url).start()
    client = websocket(stage.port, REALTIME, stage.key.token())
    text = masked(1, b'{"type":"input_audio_buffer.append","audio":"' + b"x" * 30000 + b'"}')
    grown("messages that the model server does not read", stage, lambda: pushed(client, text, 5))
    client.close()
    stage.stop()

    def talkative(client):
        pushed(client, b"\x81\x7e" + struct.pack(">H", 30000) + b"x" * 30000, 5)
    stage = Stage(upstream=Talker(talkative).url).start()
    client = websocket(stage.port, REALTIME, stage.key.token(), 4096)
    grown("messages that the caller does not read", stage, lambda: time.sleep(5))
    client.close()
    stage.stop()


def fragments():
    stage = Stage(upstream=Talker(silent).url).start()
    worthless = stage.key.token("mallory", groups=())
    size = 60_000
    head = b"\xfe" + struct.pack(">H", size) + b"\0\0\0\0"
    begun, more = b"\x01" + head + b"x" * size, b"\x00" + head + b"x" * size
    opened = []

    def send():
        for _ in range(40):
            client = websocket(stage.port, "/v1/realtime", worthless)
            if not isinstance(client, socket.socket):
                continue
            opened.append(client)
            client.settimeout(0.2)
            with contextlib.suppress(OSError):
                client.sendall(begun)
                for _ in range(200):
                    client.sendall(more)
        time.sleep(1)
    grown("40 messages of 12 MB, begun and not ended, by somebody who may do nothing", stage, send)
    close(opened)
    stage.stop()


def pipelines():
    stage = Stage(upstream=Upstream().url).start()
    for what, request in [
            ("refused", b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n"),
            ("unknown", b"GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n"),
            ("of metrics", b"GET /spanner/metrics HTTP/1.1\r\nhost: a\r\n\r\n")]:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", stage.port))
        grown(f"requests in one line, {what}, answers never read", stage,
              lambda: pushed(client, request * 500, 3))
        client.close()
    for what, frame in [("pings", b"\0\0\x08\x06\0\0\0\0\0" + b"x" * 8), ("settings", b"\0\0\0\x04\0\0\0\0\0")]:
        client = Http2(stage.port)
        grown(f"HTTP/2 {what}, replies never read", stage,
              lambda: pushed(client.socket, frame * 2000, 3))
        client.close()
    stage.stop()


def answers():
    def long(handler):
        handler.send_response(200)
        handler.send_header("content-type", "text/plain")
        handler.send_header("connection", "close")
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(2000):
                handler.wfile.write(b"x" * 16384)
        handler.close_connection = True
    stage = Stage(upstream=Upstream(long).url).start()
    body = b'{"model": "acme/m", "messages": []}'
    opened = []

    def ask():
        client = Http2(stage.port, 1 << 16)
        for _ in range(100):
            client.ask("/v1/chat/completions", stage.key.token(), body,
                       content_type="application/json")
        client.flush()
        opened.append(client)
        time.sleep(4)
    grown("100 answers of 32 MB over HTTP/2, never read", stage, ask, 160)
    close(opened)
    stage.stop()
    stage = Stage(surface="oip-grpc", upstream=Grpc(b"\0\0\x40\0\0" + b"x" * (4 << 20)).url).start()
    opened.clear()

    def infer_many():
        client = Http2(stage.port, 0)
        for _ in range(100):
            client.ask(OIP + "ModelInfer", stage.key.token(), infer(), content_type="application/grpc")
        client.flush()
        opened.append(client)
        time.sleep(4)
    grown("100 answers of 4 MB over gRPC, never read", stage, infer_many, 160)
    close(opened)
    stage.stop()


def buffered():
    stage = Stage(upstream=Upstream().url).start()
    worthless = stage.key.token("mallory", groups=())
    opened = []

    def ask():
        for _ in range(60):
            client = socket.create_connection(("127.0.0.1", stage.port), 5)
            opened.append(client)
            client.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: "
                           f"application/json\r\nauthorization: Bearer {worthless}\r\n"
                           f"content-length: 8000000\r\n\r\n".encode())
            with contextlib.suppress(OSError):
                client.sendall(b'{"x": "' + b"x" * 7_000_000)
    grown("60 bodies of 7 MB that name no model, of one caller", stage, ask, 320)
    check("a call during them", 200, honest(stage))
    close(opened)
    stage.stop()


@entry("17", "calls at the moment in which servers close idle connections")
def idle():
    for what, after, more, rounds in [("5 s, as Uvicorn and Node.js", 5, "", 2),
                                      ("2 s, as Gunicorn", 2, "", 3),
                                      ("0.5 s, as configured", 0.5, 'idle_timeout = "100ms"', 6)]:
        stage = Stage(upstream=Upstream(idle=after).url, more_upstream=more).start()
        token = stage.key.token()

        def calls(at):
            statuses = []
            for number in range(rounds):
                statuses.append(stage.call("/v1/chat/completions", CHAT, token).status)
                if number + 1 < rounds:
                    time.sleep(after - 0.012 + 0.0005 * at)
            return statuses
        with ThreadPoolExecutor(48) as pool:
            statuses = [status for came in pool.map(calls, range(48)) for status in came]
        check(f"calls at the limit of {what}", {200: len(statuses)},
              {status: statuses.count(status) for status in sorted(set(statuses))})
        stage.stop()


@entry("J", "frames that do no work")
def chatter():
    server = Upstream()
    stage = Stage(upstream=server.url).start()

    def attacked(what, frames, seconds=3):
        client = Http2(stage.port)
        client.read(0.2)
        before = processor(stage)
        end, sent, cut = time.monotonic() + seconds, 0, False
        client.socket.settimeout(1)
        while time.monotonic() < end and not cut:
            try:
                client.socket.sendall(frames)
                sent += 1
            except OSError:
                cut = True
        spent = processor(stage) - before
        client.close()
        check(f"HTTP/2 {what}", "cut off, less than half a second of a processor",
              f"{'cut off' if cut else 'goes on'}, {spent:.2f} s", cut and spent < 0.5)
    attacked("priorities", b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\x10" * 20000)
    attacked("priorities of ever new streams", b"".join(
        b"\0\0\x05\x02\0" + struct.pack(">I", 2 * n + 1) + b"\0\0\0\0\x10" for n in range(20000)))
    attacked("pings", (b"\0\0\x08\x06\0\0\0\0\0" + b"x" * 8) * 20000)
    attacked("settings", b"\0\0\0\x04\0\0\0\0\0" * 20000)
    attacked("windows", b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01" * 20000)
    attacked("unknown frames", b"\0\0\x00\xee\0\0\0\0\0" * 20000)
    attacked("priority updates", b"\0\0\x04\x10\0\0\0\0\0\0\0\0\x01" * 20000)
    check("a call after that", 200, honest(stage))
    # Others ask, and ping with each question.
    client = Http2(stage.port)
    body = b'{"model": "acme/m", "messages": []}'
    for asked in range(100, 2001, 100):
        for _ in range(100):
            client.ask("/v1/chat/completions", stage.key.token(), body,
                       content_type="application/json")
            client.h2.ping(b"12345678")
        client.flush()
        client.read(30, lambda answers: sum("ended" in it for it in answers.values()) == asked)
    good = sum(it.get(":status") == "200" for it in client.answers.values())
    check("2,000 honest calls with a ping each on one connection", 2000, good)
    client.close()
    stage.stop()
    model = Talker(silent)
    stage = Stage(upstream=model.url).start()
    client = websocket(stage.port, REALTIME, stage.key.token())
    before = processor(stage)
    pushed(client, masked(9, b"") * 5000, 3)
    spent = processor(stage) - before
    check("pings in a WebSocket", "less than half a second of a processor", f"{spent:.2f} s",
          spent < 0.5)
    stage.stop()
