"""Files of the ledger, messages for operators, and which addresses strangers and logs learn."""

import json
import os
import re
import shutil

from stage import CHAT, Stage, Upstream, call, check, check_in, entry, free_port, until

SECRET = "hunter2"


def segments(stage):
    return sorted(stage.folder.glob("ledger/*.seg"))


def started(times=1, **options):
    """A stage that was started and stopped this many times, with one call each."""
    model = Upstream()
    stage = Stage(upstream=model.url, **options)
    for _ in range(times):
        stage.start().call("/v1/chat/completions", CHAT)
        stage.stop()
    return stage


def refused(stage):
    """The message of a proxy that does not start."""
    code, out, said = stage.run("serve", "--config", "spanner.toml")
    return code, out + said


def ready(stage):
    return call(stage.url + "/spanner/ready")


@entry("I", "no second process writes, whatever is done to the lock or the directory")
def second_writer():
    for name, harm in [
            ("the lock is removed", lambda it: (it / "lock").unlink()),
            ("the lock is renamed", lambda it: (it / "lock").rename(it / "lock.old")),
            ("the lock is replaced", lambda it: ((it / "l").touch(), (it / "l").rename(it / "lock")))]:
        stage = Stage(upstream=Upstream().url).start()
        until("it is ready", lambda: ready(stage).status == 200)
        harm(stage.folder / "ledger")
        text = (stage.folder / "spanner.toml").read_text()
        stage.write("second.toml", text.replace(str(stage.port), str(free_port())))
        code, _, said = stage.run("serve", "--config", "second.toml")
        check(f"{name}: exit of the second", 1, code)
        check_in(f"{name}: it says", "written by somebody else", said)
        stage.stop()
        check(f"{name}: the ledger is whole", 0, stage.run("ledger", "verify", "ledger")[0])
    stage = Stage(upstream=Upstream().url).start()
    ledger, other = stage.folder / "ledger", stage.folder / "moved"
    until("it is ready", lambda: ready(stage).status == 200)
    stage.call("/v1/chat/completions", CHAT)
    ledger.rename(other)
    ledger.mkdir(mode=0o700)
    check("the directory is replaced: a call", 503, stage.call("/v1/chat/completions", CHAT).status)
    check("the directory is replaced: ready", 503, ready(stage).status)
    check("nothing is written into the other", [], [it.name for it in ledger.iterdir()])
    ledger.rmdir()
    other.rename(ledger)
    until("it is put back", lambda: ready(stage).status == 200)
    check("put back: a call", 200, stage.call("/v1/chat/completions", CHAT).status)
    stage.stop()
    check("put back: the ledger is whole", 0, stage.run("ledger", "verify", "ledger")[0])


@entry("I", "a cut end is noticed though tiles and checkpoint are gone")
def cut_end():
    for name, gone in [("alone", []), ("with its keys", ["key", "vkey"])]:
        stage = started(3)
        segments(stage)[-1].unlink()
        shutil.rmtree(stage.folder / "ledger/tile")
        for file in ["checkpoint", *gone]:
            (stage.folder / "ledger" / file).unlink()
        code, said = refused(stage)
        check(f"{name}: it does not start", 1, code)
        check_in(f"{name}: it says what to do", "ledger acknowledge", said)
        (stage.folder / "ledger.checkpoint").unlink()
        stage.start().stop()
        check_in(f"{name}, without the note: the log", "cannot be told", stage.log())
        line = json.loads(stage.run("ledger", "verify", "ledger", "--json")[1])
        check(f"{name}, without the note: verify", True, line["uncompared"] > 0)
    stage = started(1)
    shutil.copytree(stage.folder / "ledger", stage.folder / "copy")
    stage.start().call("/v1/chat/completions", CHAT)
    stage.stop()
    shutil.rmtree(stage.folder / "ledger")
    (stage.folder / "copy").rename(stage.folder / "ledger")
    check("an older copy: it does not start", 1, refused(stage)[0])
    check("an older copy: verify", 1, stage.run("ledger", "verify", "ledger")[0])
    stage = started(1)
    shutil.rmtree(stage.folder / "ledger")
    stage.start().stop()
    check_in("a fresh ledger says so", "a new ledger begins where another one was", stage.log())


@entry("I", "a lost segment is told, read past, and acknowledged")
def lost_segment():
    for name, at in [("first", 0), ("middle", 1), ("last", 2)]:
        stage = started(3)
        segments(stage)[at].unlink()
        code, out, said = stage.run("ledger", "show", "ledger", "--json")
        check(f"{name}: rows that are left", 2, len(out.splitlines()))
        check(f"{name}: the gap is told", True, bool(re.search(r"entries \d+ to \d+ are missing", said)))
        check(f"{name}: exit of show", 1, code)
        code, said = refused(stage)
        check(f"{name}: it does not start", 1, code)
        check_in(f"{name}: it names the command", "spanner ledger acknowledge", said)
        code, out, said = stage.run("ledger", "acknowledge", "ledger", "--reason", "a disk failed")
        check(f"{name}: acknowledged", 0, code)
        stage.start()
        check(f"{name}: it serves", 200, stage.call("/v1/chat/completions", CHAT).status)
        stage.stop()
        check_in(f"{name}: the record says so", "ledger.acknowledged",
                 stage.run("ledger", "history", "ledger")[1])
        line = json.loads(stage.run("ledger", "verify", "ledger", "--json")[1])
        check(f"{name}: verify", "acknowledged", line["result"])
        check(f"{name}: show", 0, stage.run("ledger", "show", "ledger")[0])


@entry("I", "readiness fails when files vanish under a running process")
def vanishing():
    for name, harm, mend in [
            ("removed", lambda it: it.rename(it.with_suffix(".away")),
             lambda it: it.with_suffix(".away").rename(it)),
            ("emptied", lambda it: (shutil.copy(it, it.with_suffix(".away")), os.truncate(it, 0)),
             lambda it: it.with_suffix(".away").replace(it))]:
        stage = started(2).start()
        until("ready", lambda: ready(stage).status == 200)
        segment = segments(stage)[0]
        harm(segment)
        check(f"{name}: ready", 503, ready(stage).status)
        check(f"{name}: ledger", "failing", ready(stage).json()["ledger"]["state"])
        until("the log says so", lambda: "no longer whole" in stage.log())
        mend(segment)
        until("mended", lambda: ready(stage).status == 200)
        stage.stop()


@entry("16", "each cause of an upstream's failure by name, at the default level")
def causes():
    plain = Upstream()
    for name, url, words in [
            ("refused", f"http://127.0.0.1:{free_port()}", "connection refused"),
            ("DNS", "http://nobody.invalid:9", "name not resolved (DNS)"),
            ("TLS", plain.url.replace("http:", "https:"), "TLS failed")]:
        stage = Stage(upstream=url).start()
        for _ in range(5):
            check(name, 502, stage.call("/v1/chat/completions", CHAT).status)
        stage.stop()
        told = [line for line in stage.log().splitlines() if "no answer" in line]
        check(f"{name}: lines", 1, len(told))
        check_in(f"{name}: reason", words, told[0])
        check_in(f"{name}: upstream", url.split("://")[1], told[0])


@entry("16", "problems with files: a place where there is one, what, what to do, no Rust")
def words():
    for name, options, expected in [
            ("no access directory", {"top": "", "access": 'shadow = "nowhere"'},
             "there is no directory `"),
            ("unknown key of an issuer", {"issuer": "shape = 1"}, "unknown key `shape`"),
            ("no such surface file", {"surface": "nowhere.toml"}, "there is no such file"),
            ("a folder for a file", {"more": '[revocations]\nfile = "access"\n'},
             "it is a directory"),
            ("an escape", {"more": '"\\u001b[2J" = 1\n'}, "\\u{1b}")]:
        stage = Stage(**options)
        code, out, said = stage.run("check", "--config", "spanner.toml")
        check(f"{name}: exit", 1, code)
        check_in(name, expected, said)
        check(f"{name}: no Rust", None, re.search(r"\w::\w|\(\)`|Os \{|ErrorKind", out + said))
        check(f"{name}: no control characters", None, re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said))
    stage = Stage()
    stage.configure()
    text = (stage.folder / "spanner.toml").read_text()
    wrong = text.replace('jwks_file = "jwks.json"', 'jwks_url = "http://keys.example.com"')
    stage.write("http.toml", wrong)
    check_in("http for keys", "with `danger_allow_http_loopback`;",
             stage.run("check", "--config", "http.toml")[2])
    shutil.rmtree(stage.folder / "access")
    said = stage.run("check", "--config", "spanner.toml")[2]
    check("a missing access directory has no place", None, re.search(r"access/access|access:1:1", said))
    check_in("a missing access directory", "there is no directory `access`", said)
    check_in("the log's variable is documented", "RUST_LOG", stage.run("--help")[1])


@entry("F", "probes and metrics name nothing to strangers; passwords are shown nowhere")
def leaks():
    model = Upstream()
    names = ["acme/m", "corp", model.url.split("://")[1]]
    stage = Stage(upstream=model.url).start()
    stage.call("/v1/chat/completions", CHAT)
    for path in ["/spanner/ready", "/spanner/metrics"]:
        page = call(stage.url + path).body
        check(f"names on {path}", [], [name for name in names if name in page])
    stage.stop()
    admin = free_port()
    stage = Stage(upstream=model.url, top=f'admin_listen = "127.0.0.1:{admin}"').start()
    stage.call("/v1/chat/completions", CHAT)
    page = call(f"http://127.0.0.1:{admin}/spanner/metrics").body
    check("names at admin_listen", [], [name for name in names if name not in page])
    check("at the public address", 401, call(stage.url + "/spanner/metrics").status)
    stage.stop()
    url = f"https://user:{SECRET}@host.example.com/a"
    for name, options in [
            ("upstream", {"upstream": url}),
            ("jwks_url", {"issuer": f'jwks_url = "{url}"'}),
            ("checkpoints", {"ledger": f'checkpoints = "{url}"'}),
            ("ship", {"more": f'[[ship]]\nto = "ocsf"\nurl = "{url}"\n'}),
            ("syslog", {"more": f'[[ship]]\nto = "syslog"\naddress = "user:{SECRET}@host:1"\n'}),
            ("public_origin", {"top": f'public_origin = "{url}"'})]:
        code, out, said = Stage(**options).run("check", "--config", "spanner.toml")
        check(f"{name}: exit", 1, code)
        check(f"{name}: the password", False, SECRET in out + said)
