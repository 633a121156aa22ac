"""Entry 4: no address of a model server leads a caller past the guard."""

import json
import os
import subprocess
import sys

from stage import Stage, Upstream, check, check_in, entry

LFS = "application/vnd.git-lfs+json"


def hub(handler):
    """A Hub that puts its own address into every place that its API has for one."""
    own = f"http://{handler.headers['host']}"
    path = handler.path.split("?")[0]
    match path:
        case "/api/models":
            handler.reply(200, [{"id": "acme/m", "url": f"{own}/acme/m"}], {
                "link": f'<{own}/api/models?cursor=2>; rel="next"', "alt-svc": 'h3=":443"',
                "x-served-by": handler.headers["host"]})
        case "/acme/m/resolve/main/moved":
            handler.reply(307, b"", {"location": f"{own}/acme/m/resolve/main/config.json",
                                     "set-cookie": "s=1; Domain=hub.internal; Path=/"})
        case "/acme/m/resolve/main/rooted":
            handler.reply(307, b"", {"location": "/acme/m/resolve/main/config.json"})
        case "/acme/m/resolve/main/cdn":
            handler.reply(302, b"", {"location": "https://cdn.example.com/x?sig=1"})
        case "/acme/m/resolve/main/config.json":
            handler.reply(200, {"home": f"{own}/x"}, {
                "content-location": f"{own}{path}", "etag": '"a"', "x-repo-commit": "c" * 40})
        case "/acme/m.git/info/lfs/objects/batch":
            objects = [{"oid": "a" * 64, "size": 1, "actions": {"download": {
                "href": f"{own}/acme/m/lfs/a", "header": {"Authorization": "Basic c2VjcmV0"}}}},
                {"oid": "b" * 64, "size": 1, "actions": {"download": {
                    "href": "https://s3.example.com/b?sig=1"}}}]
            handler.reply(200, json.dumps({"transfer": "basic", "objects": objects}).encode(),
                          {"content-type": LFS})
        case _:
            handler.reply(404, {"error": "nothing here"})


@entry("4", "bytes that bypass the guard: Location, Link, Content-Location, LFS hrefs, cookies")
def addresses():
    model = Upstream(hub)
    stage = Stage(surface=["hf-hub", "git-http"], upstream=model.url, more_upstream='path_prefix = "/hub"')
    grants = '[grants.production]\nreader = ["group:nlp"]\ncaller = ["group:nlp"]\n'
    stage.write("access/models/acme/m.toml", f'model = "acme/m"\nowner = "group:nlp"\n{grants}')
    stage.write("access/organization.toml", stage.ORGANIZATION + grants)
    stage.start()
    here = f"{stage.url}/hub"

    def replied(path, body=None, headers=()):
        reply = stage.call(f"/hub{path}", body, headers=headers)
        whole = str(reply.headers) + reply.body
        return reply, f"127.0.0.1:{model.port}" in whole

    listed, named = replied("/api/models")
    check("a list is answered", 200, listed.status)
    check("Link leads back below the prefix", f'<{here}/api/models?cursor=2>; rel="next"', listed.headers["link"])
    check("an address in the Hub's JSON leads back", f"{here}/acme/m", listed.json()[0]["url"])
    check("no header or body names the upstream", False, named)
    check("no alternative service", None, listed.headers["alt-svc"])
    moved, named = replied("/acme/m/resolve/main/moved")
    check("Location leads back", f"{here}/acme/m/resolve/main/config.json", moved.headers["location"])
    check("a cookie is not the upstream's", "s=1; Path=/hub/", moved.headers["set-cookie"])
    rooted, _ = replied("/acme/m/resolve/main/rooted")
    check("a root-relative redirect keeps the prefix", "/hub/acme/m/resolve/main/config.json", rooted.headers["location"])
    cdn, _ = replied("/acme/m/resolve/main/cdn")
    check("a redirect elsewhere stays", "https://cdn.example.com/x?sig=1", cdn.headers["location"])
    file, _ = replied("/acme/m/resolve/main/config.json")
    check("Content-Location leads back", f"{here}/acme/m/resolve/main/config.json", file.headers["content-location"])
    check("a file's bytes are as they are", f"{model.url}/x", file.json()["home"])
    asked = {"operation": "download", "transfers": ["basic"], "objects": [{"oid": "a" * 64, "size": 1}]}
    batch, named = replied("/acme/m.git/info/lfs/objects/batch", json.dumps(asked).encode(), {"content-type": LFS})
    first, second = batch.json()["objects"]
    check("an LFS object at the upstream has no action", False, "actions" in first)
    check_in("it has an error that says why", "Spanner does not guard", first["error"]["message"])
    check("one in object storage stays", "https://s3.example.com/b?sig=1", second["actions"]["download"]["href"])
    check("the batch names no upstream and no credential", False, named or "c2VjcmV0" in batch.body)


@entry("4-clients", "hf_hub_download below a path_prefix, through a root-relative redirect")
def clients():
    def redirecting(handler):
        if handler.path == "/acme/m/resolve/main/config.json":
            return handler.reply(307, b"", {"location": "/api/resolve-cache/models/acme/m/" + "c" * 40 + "/config.json"})
        if handler.path.startswith("/api/resolve-cache/"):
            body = b"" if handler.command == "HEAD" else b'{"a":1}'
            return handler.reply(200, body, {"content-length": "7", "etag": '"' + "e" * 40 + '"',
                                             "content-type": "text/plain", "x-repo-commit": "c" * 40})
        return handler.reply(404, {"error": "nothing here"})
    model = Upstream(redirecting)
    stage = Stage(surface="hf-hub", upstream=model.url, more_upstream='path_prefix = "/hub"')
    stage.write("access/models/acme/m.toml", stage.MANIFEST.replace("caller =", "reader ="))
    stage.start()
    script = ("import sys\nfrom huggingface_hub import hf_hub_download\n"
              "print(open(hf_hub_download('acme/m', 'config.json')).read())")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120,
        env={**os.environ, "HF_ENDPOINT": f"{stage.url}/hub", "HF_HOME": str(stage.folder / "hf"),
             "HF_TOKEN": stage.key.token(), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"})
    check("the file arrives", '{"a":1}', done.stdout.strip() or done.stderr)
