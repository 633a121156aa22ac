"""A small Hugging Face Hub: enough for huggingface_hub to create, upload, list and download.

Objects are uploaded to another server, by an address that carries its own proof, as the Hub's
storage does: clients send no token there.
"""

import base64
import hashlib
import json
import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "1" * 40
STORE = Path(sys.argv[2])
REPOS: dict[str, dict[str, dict]] = {}
PROOFS: dict[str, str] = {}


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **headers):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content_Type", "application/json")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def pieces(self):
        """The body, however it is framed."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().strip(), 16):
                left = size
                while left:
                    piece = self.rfile.read(min(left, 1 << 16))
                    left -= len(piece)
                    yield piece
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left:
                piece = self.rfile.read(min(left, 1 << 16))
                left -= len(piece)
                yield piece

    def json(self):
        return json.loads(b"".join(self.pieces()) or b"{}")

    def parts(self):
        return [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]

    def do_POST(self):
        match self.parts():
            case ["api", "repos", "create"]:
                wanted = self.json()
                name = f"{wanted['organization']}/{wanted['name']}"
                REPOS.setdefault(name, {})
                self.reply(200, {"url": f"https://huggingface.co/{name}", "id": name, "name": name})
            case ["api", "models", owner, name, "preupload", _]:
                files = self.json()["files"]
                # The Hub takes large files apart; this one takes some in the commit itself.
                large = lambda file: file["size"] > 1_000_000 and not file["path"].endswith(".inline")
                mode = lambda file: "lfs" if large(file) else "regular"
                self.reply(200, {"files": [
                    {"path": file["path"], "uploadMode": mode(file), "shouldIgnore": False}
                    for file in files
                ]})
            case [owner, name, "info", "lfs", "objects", "batch"]:
                wanted = self.json()
                objects = []
                for item in wanted["objects"]:
                    proof = secrets.token_urlsafe(16)
                    PROOFS[proof] = item["oid"]
                    address = f"http://127.0.0.1:{STORAGE.server_port}/store/{proof}"
                    objects.append({**item, "actions": {"upload": {"href": address}}})
                self.reply(200, {"transfer": "basic", "objects": objects})
            case ["api", "models", owner, name, "commit", _]:
                files = REPOS[f"{owner}/{name}"]
                lines = b"".join(self.pieces()).splitlines()
                for line in map(json.loads, lines):
                    value = line["value"]
                    if line["key"] == "lfsFile":
                        files[value["path"]] = {"oid": value["oid"], "size": value["size"]}
                    elif line["key"] == "file":
                        content = base64.b64decode(value["content"])
                        oid = hashlib.sha256(content).hexdigest()
                        (STORE / oid).write_bytes(content)
                        files[value["path"]] = {"oid": oid, "size": len(content)}
                    elif line["key"] == "deletedFile":
                        del files[value["path"]]
                self.reply(200, {
                    "success": True,
                    "commitOid": COMMIT,
                    "commitUrl": f"https://huggingface.co/{owner}/{name}/commit/{COMMIT}",
                    "hookOutput": "",
                })
            case _:
                list(self.pieces())
                self.reply(404, {"error": self.path})

    def do_PUT(self):
        match self.parts():
            case ["store", proof] if proof in PROOFS and "Authorization" not in self.headers:
                oid, sha = PROOFS.pop(proof), hashlib.sha256()
                with (STORE / oid).open("wb") as file:
                    for piece in self.pieces():
                        sha.update(piece)
                        file.write(piece)
                self.reply(200 if sha.hexdigest() == oid else 400)
            case _:
                list(self.pieces())
                self.reply(403)

    def do_GET(self):
        match self.parts():
            case ["api", "models", owner, name] | ["api", "models", owner, name, "revision", _]:
                name = f"{owner}/{name}"
                if name not in REPOS:
                    self.reply(404, {"error": "none"}, X_Error_Code="RepoNotFound")
                    return
                siblings = [{"rfilename": path} for path in REPOS[name]]
                self.reply(200, {"id": name, "modelId": name, "sha": COMMIT, "private": False,
                                 "tags": [], "downloads": 0, "likes": 0, "siblings": siblings})
            case [owner, name, "resolve", _, *path]:
                found = REPOS.get(f"{owner}/{name}", {}).get("/".join(path))
                if not found:
                    self.reply(404, X_Error_Code="EntryNotFound")
                    return
                headers = {"ETag": f'"{found["oid"]}"', "X_Repo_Commit": COMMIT,
                           "Accept_Ranges": "bytes", "Content_Length": found["size"]}
                self.send(found, headers)
            case _:
                self.reply(404, {"error": self.path})

    do_HEAD = do_GET

    def send(self, found, headers):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            with (STORE / found["oid"]).open("rb") as file:
                while piece := file.read(1 << 16):
                    self.wfile.write(piece)


STORE.mkdir(parents=True, exist_ok=True)
STORAGE = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=STORAGE.serve_forever, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Hub).serve_forever()
