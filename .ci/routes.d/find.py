"""Compares the routes that official clients send and servers serve with those that surfaces know.

Routes are read out of installed packages, not guessed: calls of the clients' own request
functions, the service models of botocore, the decorators of servers. What no surface knows
must be listed in `out.toml` with a reason; what is listed and known, or gone, is told as well.
"""

import ast
import gzip
import json
import pathlib
import re
import sys
import tomllib

METHODS = {"get", "post", "put", "patch", "delete", "head"}


# Paths in sources.

def text_of(node):
    """A path as the source writes it: constants stay, and every inserted value becomes a slot."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            parts = [v.value if isinstance(v, ast.Constant) else "{" + name_of(v.value) + "}" for v in values]
            return "".join(parts)
        case ast.Call(func=ast.Attribute(value=inner, attr="format" | "format_map")):
            return text_of(inner)
        case ast.Call(func=ast.Name(id="path_template" | "maybe_transform"), args=[first, *_]):
            return text_of(first)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            left, right = text_of(left), text_of(right)
            return left and right and left + right
    return None


def name_of(node):
    """The name of a slot, from the expression that is inserted."""
    names = [n.attr if isinstance(n, ast.Attribute) else n.id for n in ast.walk(node)
             if isinstance(n, (ast.Attribute, ast.Name))]
    return names[0] if names else "x"


def modules(root, skip=()):
    for path in sorted(root.rglob("*.py")):
        if not any(part in path.parts for part in ("tests", "test", *skip)):
            yield ast.parse(path.read_text())


def calls(root, skip=()):
    for module in modules(root, skip):
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                yield node


def argument(call, name, position=None):
    for keyword in call.keywords:
        if keyword.arg == name:
            return text_of(keyword.value)
    if position is not None and len(call.args) > position:
        return text_of(call.args[position])
    return None


def stainless(root, prefix=""):
    """`self._post("/chat/completions", …)`, also as `partial(self._post, "/…")`."""
    for call in calls(root):
        function, arguments = call.func, call.args
        if arguments and isinstance(arguments[0], ast.Attribute):
            function, arguments = arguments[0], arguments[1:]
        if not (isinstance(function, ast.Attribute) and arguments):
            continue
        verb = function.attr.lstrip("_")
        path = text_of(arguments[0])
        if not function.attr.startswith("_") or not path or not path.startswith("/"):
            continue
        if verb == "get_api_list":
            verb = argument(call, "method") or "get"
        if verb in METHODS:
            yield verb.upper(), prefix + path.split("?")[0]


def fern(root):
    """`httpx_client.request("v2/chat", method="POST", …)`."""
    for call in calls(root):
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("request", "stream"):
            path, method = argument(call, "path", 0), argument(call, "method")
            if path and method:
                yield method, "/" + path.lstrip("/")


def speakeasy(root):
    """`self._build_request(method="POST", path="/v1/fim/completions", …)`."""
    for call in calls(root):
        path, method = argument(call, "path"), argument(call, "method")
        if path and method and path.startswith("/"):
            yield method, path.split("#")[0].split("?")[0]


def genai(root, vertex):
    """`path = 'tunings'.format_map(…)` in one branch for each of two APIs, then
    `self._api_client.request('post', path, …)`."""
    def paths(node, here):
        match node:
            case ast.If(test=test, body=body, orelse=orelse) if any(
                word in ast.unparse(test) for word in ("vertexai", "enterprise")
            ):
                negated = ast.unparse(test).startswith("not ")
                for child in body:
                    yield from paths(child, not negated)
                for child in orelse:
                    yield from paths(child, negated)
            case ast.Assign(targets=[ast.Name(id="path")], value=value):
                text = text_of(value)
                if text and here in (vertex, None):
                    yield text
            case _:
                for child in ast.iter_child_nodes(node):
                    yield from paths(child, here)

    for module in modules(root):
        for function in ast.walk(module):
            if not isinstance(function, ast.FunctionDef):
                continue
            verbs = set()
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                    if call.func.attr.startswith("request") and call.args:
                        verb = text_of(call.args[0])
                        if verb in METHODS:
                            verbs.add(verb.upper())
            for path in paths(function, None):
                for verb in verbs:
                    yield verb, path.split("?")[0]


def genai_gemini(root):
    for verb, path in genai(root, vertex=False):
        yield verb, "/v1beta/" + path.replace("{model}", "models/{model}").replace("{name}", "things/{name}")


def genai_vertex(root):
    base = "/v1/projects/{project}/locations/{location}/"
    for verb, path in genai(root, vertex=True):
        yield verb, base + path.replace("{model}", "publishers/{publisher}/models/{model}")


def ollama(root):
    """`self._request(GenerateResponse, 'POST', '/api/generate', …)`."""
    for call in calls(root):
        texts = [text_of(argument) for argument in call.args]
        for verb, path in zip(texts, texts[1:]):
            if verb and path and verb.lower() in METHODS and path.startswith("/"):
                yield verb, path


def hub(root):
    """`get_session().get(f"{self.endpoint}/api/models", …)`: every path that a function
    writes, by every method that it uses."""
    for module in modules(root, skip=("cli", "inference")):
        for function in ast.walk(module):
            if not isinstance(function, ast.FunctionDef):
                continue
            verbs, paths = set(), set()
            for node in ast.walk(function):
                if isinstance(node, ast.JoinedStr):
                    text = text_of(node)
                    found = re.match(r"^\{(?:self\.)?(?:endpoint|ENDPOINT|_endpoint|INFERENCE_ENDPOINTS?_ENDPOINT)\}(/.*)$", text)
                    if found:
                        paths.add(found[1].split("?")[0])
                if isinstance(node, ast.Call):
                    verb = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    if verb in METHODS and "session" in ast.unparse(node.func):
                        verbs.add(verb.upper())
                    if verb == "paginate":
                        verbs.add("GET")
                    if verb in ("http_backoff", "_request_wrapper", "http_stream_backoff"):
                        verbs.add((argument(node, "method", 0) or "GET").upper())
            for path in paths:
                for verb in verbs:
                    yield verb, path


def botocore(service):
    def routes(root):
        newest = sorted((root / "data" / service).iterdir())[-1]
        packed = next(newest.glob("service-2.json*"))
        read = gzip.open if packed.suffix == ".gz" else open
        with read(packed, "rt") as file:
            model = json.load(file)
        for operation in model["operations"].values():
            yield operation["http"]["method"], operation["http"]["requestUri"].split("?")[0]
    return routes


def triton_http(root):
    """`request_uri = "v2/models/{}/infer".format(…)`, and `_get` or `_post` behind it."""
    for module in modules(root / "http", skip=("aio",)):
        for function in ast.walk(module):
            if not isinstance(function, ast.FunctionDef):
                continue
            verbs = {n.attr.strip("_").upper() for n in ast.walk(function)
                     if isinstance(n, ast.Attribute) and n.attr in ("_get", "_post")}
            for node in ast.walk(function):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    if re.match(r"^v2(/[a-z{}/_-]*)?$", node.value):
                        for verb in verbs:
                            yield verb, "/" + node.value


def grpc(root):
    for module in root.rglob("*_pb2_grpc.py"):
        for path in re.findall(r"'(/[A-Za-z0-9_.]+/[A-Za-z0-9]+)'", module.read_text()):
            yield "POST", path


def decorated(names, skip=()):
    """`@router.post("/v1/messages", …)`, `@app.api_route("/x", methods=[…])`, and
    `@router.websocket("/v1/realtime")`, with the prefix of `APIRouter(prefix="/x")`."""
    def routes(root):
        for name in names:
            for path in sorted((root / name).rglob("*.py")) if (root / name).is_dir() else [root / name]:
                if any(part in path.parts for part in ("tests", *skip)):
                    continue
                module = ast.parse(path.read_text())
                prefixes = {}
                for node in ast.walk(module):
                    match node:
                        case ast.Assign(targets=[ast.Name(id=router)], value=ast.Call() as call):
                            prefixes[router] = argument(call, "prefix") or ""
                for node in ast.walk(module):
                    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                        continue
                    path = argument(node, "path", 0)
                    if not isinstance(node.func.value, ast.Name) or not path or not path.startswith("/"):
                        continue
                    router = node.func.value.id
                    if router not in prefixes and "router" not in router and router != "app":
                        continue
                    verbs = {"websocket": ["get"], "api_route": None}.get(node.func.attr, [node.func.attr])
                    if verbs is None:
                        listed = next((k.value for k in node.keywords if k.arg == "methods"), None)
                        verbs = [text_of(v) for v in listed.elts] if listed is not None else ["get"]
                    for verb in verbs:
                        if verb and verb.lower() in METHODS:
                            yield verb.upper(), prefixes.get(router, "") + path
    return routes


# Surfaces.

def expanded(path, paths):
    for name, texts in paths.items():
        if "$" + name in path:
            return [one for text in texts for one in expanded(path.replace("$" + name, text, 1), paths)]
    return [path]


def surface(folder, name):
    """(method, compiled template) of each route."""
    file = tomllib.loads((folder / f"{name}.toml").read_text())
    words = file.get("reserved", {})
    known = []
    for row in file["routes"]:
        methods, paths = row["method"], row["path"]
        methods = [methods] if isinstance(methods, str) else methods
        paths = [paths] if isinstance(paths, str) else paths
        for path in (one for path in paths for one in expanded(path, file.get("paths", {}))):
            known.extend((method, pattern(path, words), path) for method in methods)
    return known


def pattern(path, words):
    def slot(found):
        name, star = found[1].split(":")[0].rstrip("*"), found[1].endswith("*")
        held = ".+" if star else "[^/]+"
        if name in words.get("slots", []):
            held = "(?!(?:" + "|".join(map(re.escape, words["words"])) + ")(?:/|$))" + held
        return held
    parts = re.split(r"\{([^}]*)\}", path)
    text = "".join(re.escape(part) if i % 2 == 0 else slot((None, part)) for i, part in enumerate(parts))
    return re.compile(text)


# A catch-all route says nothing about a particular route.
def catches_all(path):
    return re.match(r"^/\{[^}]*\}/\{[^}]*\*\}$", path) is not None


# Example values for slots whose texts have a form; the other slots accept any text.
SAMPLES = {
    "repo_id": "acme/m1", "src_repo_id": "acme/m1", "from_id": "acme/m1", "bucket_id": "acme/b1",
    "repo_type": "model", "src_repo_type": "model", "api_prefix": "models", "url_prefix": "",
    "REPO_TYPES_URL_PREFIXES": "", "models_url": "models", "model_url": "models", "api_version": "v1beta",
    "status": "pending", "discussion_num": "1", "resource": "comment",
    "file_search_store_name": "fileSearchStores/s1", "operationName": "models/m1/operations/o1",
    "resourceName": "endpoints/e1", "parent": "fileSearchStores/s1",
}


def filled(path):
    """A path as a client would send it."""
    path = path.replace("{{", "{").replace("}}", "}")
    return re.sub(r"\{([^}]*)\}", lambda slot: SAMPLES.get(slot[1].split(":")[0], "x1"), path)




def main():
    here = pathlib.Path(__file__).parent
    packages, servers, surfaces = map(pathlib.Path, sys.argv[1:4])
    sources = {
        "openai": (stainless, packages / "openai", "/v1", ["openai"]),
        "anthropic": (stainless, packages / "anthropic", "", ["anthropic"]),
        "google-genai": (genai_gemini, packages / "google/genai", None, ["gemini"]),
        "google-genai on Vertex AI": (genai_vertex, packages / "google/genai", None, ["vertex-ai"]),
        "cohere": (fern, packages / "cohere", None, ["cohere"]),
        "mistralai": (speakeasy, packages / "mistralai/client", None, ["mistral"]),
        "ollama": (ollama, packages / "ollama", None, ["ollama"]),
        "huggingface_hub": (hub, packages / "huggingface_hub", None, ["hf-hub", "hf-inference-endpoints", "git-http"]),
        "bedrock-runtime": (botocore("bedrock-runtime"), packages / "botocore", None, ["bedrock-runtime"]),
        "sagemaker-runtime": (botocore("sagemaker-runtime"), packages / "botocore", None, ["sagemaker-runtime"]),
        "tritonclient": (triton_http, packages / "tritonclient", None, ["triton", "oip"]),
        "tritonclient over gRPC": (grpc, packages / "tritonclient", None, ["oip-grpc"]),
        "litellm": (decorated(["proxy"], skip=("example_config_yaml",)), servers / "litellm", None, ["litellm"]),
        "sglang": (decorated(["srt/entrypoints"]), servers / "sglang", None, ["sglang"]),
    }
    out = tomllib.loads((here / "out.toml").read_text())["out"]
    used, unexplained, total = set(), [], 0
    ran = [*stainless(packages / "openai", "/v1"), *stainless(packages / "anthropic")]
    sent = {filled(path) for _, path in ran}
    for name, (find, root, prefix, names) in sources.items():
        routes = sorted(set(find(root, prefix) if prefix is not None else find(root)))
        known = [row for surface_name in names for row in surface(surfaces, surface_name)]
        reasons = [(i, line) for i, entry in enumerate(out) if entry["source"] == name for line in entry["routes"]]
        missing = []
        for method, path in routes:
            sample = filled(path)
            # What official clients send is not left to a route that catches everything.
            common = re.sub(r"^(/openai)?(/v1)?", "/v1", sample) in sent
            methods = {method, "GET"} if method == "HEAD" else {method}
            if any(m in methods and template.fullmatch(sample) and not (common and catches_all(text))
                   for m, template, text in known):
                continue
            line = f"{method} {path}"
            whys = [(i, r) for i, r in reasons if re.fullmatch(re.escape(r).replace(r"\*", ".*").replace(r"\?", "."), line)]
            if whys:
                used.update(whys)
            else:
                missing.append(line)
        total += len(routes)
        print(f"{name}: {len(routes)} routes, {len(missing)} unexplained")
        if not routes:
            unexplained.append(f"{name}: no route was found in its source: the script must learn its new form")
        unexplained.extend(f"{name}: {line}" for line in missing)
    stale = [f"{out[i]['source']}: {r}" for i, e in enumerate(out) for r in e["routes"] if (i, r) not in used]
    for line in unexplained:
        print("unexplained:", line)
    for line in stale:
        print("listed for nothing:", line)
    print(f"{total} routes, {len(unexplained)} unexplained, {len(stale)} listed for nothing")
    sys.exit(1 if unexplained or stale else 0)


main()
