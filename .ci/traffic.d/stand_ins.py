"""Stand-ins where no real server can be installed: they answer one message like Anthropic and
Ollama, and echo WebSockets: stand_ins.py PORT WEBSOCKET_PORT."""

import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import websockets


class StandIn(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = asked["model"]
        assert "authorization" not in self.headers and "x-api-key" not in self.headers
        if self.path.startswith("/v1/messages"):
            answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": model,
                      "content": [{"type": "text", "text": "good day"}],
                      "stop_reason": "end_turn", "stop_sequence": None,
                      "usage": {"input_tokens": 3, "output_tokens": 2}}
        else:
            answer = {"model": model, "created_at": "2026-11-24T00:00:00Z", "done": True,
                      "message": {"role": "assistant", "content": "good day"},
                      "prompt_eval_count": 3, "eval_count": 2}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def sockets(port):
    async with websockets.serve(echo, "127.0.0.1", port):
        await asyncio.get_running_loop().create_future()


http = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), StandIn)
threading.Thread(target=http.serve_forever, daemon=True).start()
asyncio.run(sockets(int(sys.argv[2])))
