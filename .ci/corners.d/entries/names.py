"""Names: which spellings surfaces fold, which names are valid, which look alike; broken manifests."""

import os

from stage import CHAT, Stage, Upstream, check, check_in, entry, until

CALLERS = Stage.ORGANIZATION + '[grants.production]\ncaller = ["group:nlp"]\n'


def forbid(name):
    return ('@id("f") @reason("not reviewed")\n'
            f'forbid(principal, action, resource in Spanner::Model::"{name}");\n')


def checked(stage):
    code, out, said = stage.run("check", "--config", "spanner.toml")
    return code, out + said


@entry("1", "a name that a surface folds is refused when loaded, with the spelling that works")
def folded():
    rows = [
        ("ollama", "gemma3:latest", "gemma3"), ("ollama", "Gemma3", "gemma3"),
        ("ollama", "library/gemma3", "gemma3"), ("gemini", "models/g", "g"),
        ("hf-router", "acme/m:together", "acme/m"), ("vertex-ai", "google/g@001", "google/g"),
        ("bedrock-runtime", "arn:aws:bedrock:us-east-1::foundation-model/a.b", "a.b"),
    ]
    for surface, written, right in rows:
        stage = Stage(surface=surface)
        stage.write("access/organization.toml", CALLERS)
        stage.write("access/policies/f.cedar", forbid(written))
        code, said = checked(stage)
        check(f"{surface}: a guardrail about {written}", 1, code)
        check_in(f"{surface}: says how it is spelled", f"write `{right}`", said)
        stage.write("access/policies/f.cedar", forbid(right))
        check(f"{surface}: about {right}", 0, checked(stage)[0])
        manifest = Stage.MANIFEST.replace("acme/m", written)
        stage.write("access/models/other.toml", manifest)
        check(f"{surface}: a manifest under {written}", 1, checked(stage)[0])

    stage = Stage(surface="ollama", upstream=Upstream().url)
    stage.write("access/organization.toml", CALLERS)
    stage.write("access/policies/f.cedar", forbid("gemma3"))
    stage.start()
    chat = lambda model: stage.call("/api/chat", {**CHAT, "model": model})
    for sent in ["gemma3", "gemma3:latest", "Gemma3:LATEST", "library/gemma3"]:
        check(f"{sent} is forbidden", 403, chat(sent).status)
    check("another model is not", 200, chat("llama3").status)
    case = ('[[case]]\ncaller = "user:alice"\ngroups = ["nlp"]\naction = "generate"\n'
            'environment = "production"\nexpect = "deny"\nmodel = "gemma3:latest"\n')
    stage.write("access/cases/c.toml", case)
    code, out, said = stage.run("access", "test", "--config", "spanner.toml")
    check("a case about gemma3:latest is refused", 1, code)
    check_in("with the spelling", "write `gemma3`", out + said)
    question = ["access", "explain", "--caller", "user:alice", "--action", "generate",
                "--environment", "production", "--model", "gemma3:latest"]
    code, out, said = stage.run(*question, "--config", "spanner.toml")
    check("so is a question", 1, code)
    check_in("with the spelling", "write `gemma3`", out + said)
    code, out, said = stage.run(*question, "access")
    check_in("without a configuration it says so", "compared as they are written", said)
    asked = stage.call("/spanner/v1/explain", {"model": "gemma3:latest", "action": "generate"})
    check("the administration refuses it", 400, asked.status)
    check_in("with the spelling", "write `gemma3`", asked.body)
    stage.stop()

    both = Stage(surface="ollama", more='[[upstream]]\nsurface = "openai"\n'
                 'url = "http://127.0.0.1:9"\npath_prefix = "/v"\n')
    both.write("access/policies/f.cedar", forbid("gemma3:latest"))
    code, said = checked(both)
    check("two surfaces, of which one folds: a forbid that one lets through", 1, code)
    check_in("says what to name as well", "name `gemma3` as well", said)
    twin = forbid("gemma3").replace('"f"', '"g"')
    both.write("access/policies/g.cedar", twin)
    check("with its twin", 0, checked(both)[0])
    bound = Stage(surface="ollama", more_upstream='model = "gemma3:latest"')
    check_in("an upstream's model", "write `gemma3`", checked(bound)[1])


@entry("7", "what can be a model's name, and where what cannot stands")
def names():
    stage = Stage(surface=["vllm"], upstream=Upstream().url)
    stage.write("access/models/x.toml", Stage.MANIFEST.replace("acme/m", "/models/x"))
    stage.start()
    asked = lambda name: stage.call("/v1/chat/completions", {**CHAT, "model": name})
    check("an absolute path", 200, asked("/models/x").status)
    check("another one", 403, asked("/models/y").status)
    for name, says in [("C:\\m", "'\\\\' (at byte 2)"), ("my model", "' ' (at byte 2)"),
                       ("m[1]", "'[' (at byte 1)"), ("a/../b", "between its slashes")]:
        reply = asked(name)
        check(f"{name!r}", 400, reply.status)
        check_in(f"{name!r}: what and where", says, reply.json()["error"]["message"])
    check("its page", 200, stage.call("/spanner/v1/models/%2Fmodels%2Fx/access").status)
    stage.stop()
    hub = Stage(surface="hf-hub", upstream=Upstream().url)
    hub.write("access/models/gpt2.toml", 'model = "gpt2"\nowner = "group:nlp"\n'
              '[grants.production]\nreader = ["group:nlp"]\n')
    hub.start()
    for path in ["/api/models/gpt2", "/api/models/gpt2/revision/main", "/gpt2/resolve/main/config.json"]:
        check(f"the Hub: {path}", 200, hub.call(path).status)
    check("the Hub: another one", 403, hub.call("/api/models/bert").status)


@entry("J", "one team's broken manifest, links out of the folder, names that look alike")
def steady():
    own = Stage.MANIFEST.replace("acme/m", "team/own")
    stage = Stage(upstream=Upstream().url, access='models = "hub"')
    stage.write("access/organization.toml", CALLERS)
    stage.write("hub/own/access.toml", own)
    stage.start()
    call = lambda model="acme/other": stage.call("/v1/chat/completions", {**CHAT, "model": model})
    check("granted by the organization", 200, call().status)
    stage.write("hub/own/access.toml", "model = ")
    stage.write("access/organization.toml", Stage.ORGANIZATION)
    until("the removal takes effect", lambda: call().status == 403)
    check("a removal takes effect beside a broken manifest", 403, call().status)
    check("what is broken is as it was", 200, call("team/own").status)
    ready = stage.call("/spanner/ready", token=False).json()
    check("readiness says so", 1, ready["access"]["broken_manifests"])
    code, said = checked(stage)
    check("check finds it", 1, code)
    check_in("where it is", "hub/own/access.toml:1:9", said)
    stage.stop()
    stage.start()
    check("after a start it grants nothing", 403, call("team/own").status)
    check("and everything else is served", 200, call("acme/m").status)
    stage.stop()

    linked = Stage(surface="openai")
    os.symlink("/", linked.folder / "access/models/root")
    code, said = checked(linked)
    check("a link to / ends", 1, code)
    check_in("and is told of", "models/root: the symbolic link leads out of the folder", said)

    alike = Stage(surface="openai")
    groups = Stage.ORGANIZATION.replace('["nlp"]', '["nlp", "nl\u0440"]')
    alike.write("access/organization.toml", groups)
    code, said = checked(alike)
    check("two groups that look alike", 1, code)
    check_in("by their code points", "U+0440", said)
    alike.write("access/organization.toml", Stage.ORGANIZATION.replace('"nlp"', '"nl\u0440"'))
    alike.write("access/models/acme/m.toml", Stage.MANIFEST.replace("nlp", "nl\u0440"))
    for form in ["markdown", "html"]:
        _, out, _ = alike.run("access", "review", "access", "--format", form)
        check_in(f"a review in {form}", "nl\u0440(U+0440)", out)
    alike.write("access/organization.toml", Stage.ORGANIZATION)
    hidden = Stage.MANIFEST + '# \u202e\n'
    alike.write("access/models/acme/m.toml", hidden)
    check_in("a character that is not seen", "U+202E", checked(alike)[1])
