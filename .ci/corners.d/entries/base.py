"""The basics: who is allowed, who is refused, and what is recorded."""

from stage import CHAT, Stage, Upstream, check, entry


@entry("base", "a call that is allowed, one that is refused, one without a token")
def base():
    model = Upstream()
    stage = Stage(upstream=model.url).start()
    check("allowed", 200, stage.call("/v1/chat/completions", CHAT).status)
    stranger = stage.key.token("mallory", groups=())
    check("refused", 403, stage.call("/v1/chat/completions", CHAT, stranger).status)
    check("no token", 401, stage.call("/v1/chat/completions", CHAT, False).status)
    check("the model server saw one", 1, len(model.seen))
    stage.stop()
    check("three records", 3, len(stage.rows()))
