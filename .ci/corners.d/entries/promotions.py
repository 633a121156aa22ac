"""Promotions: what approvals cover, rollbacks, new ledgers, who learns what, bounds."""

import json
import shutil

from stage import Stage, Upstream, CHAT, check, check_in, entry, until

ORGANIZATION = """environments = ["staging", "production"]
groups = ["nlp", "gov", "support", "qa", "root"]
issuers = ["corp"]
[grants.production]
admin = ["group:root"]
[promotion.production]
from = "staging"
approvals = 2
approvers = ["group:gov"]
"""

MANIFEST = """model = "acme/m"
owner = "group:nlp"
[grants.staging]
maintainer = ["group:nlp"]
[grants.production]
caller = ["group:support"]
"""


class Company:
    """A proxy with a promotion rule for production, and the people who take the steps."""

    PEOPLE = {"nina": ["nlp"], "omar": ["gov"], "pia": ["gov"], "sam": ["support"],
              "quinn": ["qa"], "ada": ["root"], "eve": []}

    def __init__(self, manifest=MANIFEST, existing=False):
        """With `existing`, the manifest exists before promotions begin; otherwise it is added after."""
        self.model = Upstream()
        self.stage = stage = Stage(upstream=self.model.url)
        (stage.folder / "access/models/acme/m.toml").unlink()
        stage.write("access/organization.toml", ORGANIZATION)
        if existing:
            self.manifest(manifest)
        self.start()
        if not existing:
            self.manifest(manifest)
            self.reload()
        self.tokens = {who: stage.key.token(sub=who, groups=groups)
                       for who, groups in self.PEOPLE.items()}

    def start(self):
        """Starts the proxy, and waits until the promoted manifests are in force."""
        before = self.stage.log().count(" serving ") if self.stage.process else 0
        self.stage.start()
        until("the proxy serves", lambda: self.stage.log().count(" serving ") > before)
        until("it is ready", lambda: self.get("/spanner/ready").status == 200)

    def manifest(self, text, name="acme/m"):
        self.stage.write(f"access/models/{name}.toml", text)

    def get(self, path, who=None):
        """Repeats a request whose record took the disk too long."""
        for _ in range(5):
            reply = self.stage.call(path, token=self.tokens[who] if who else False)
            if reply.status != 503:
                break
        return reply

    def reload(self):
        """Makes the proxy read the access again, and waits until it reports this."""
        def answers():
            log = self.stage.log()
            return sum(log.count(words) for words in (
                "the access is as it was", "another access is in force", "the access was not reloaded"))

        before = answers()
        self.stage.hang_up()
        until("the access is read again", lambda: answers() > before)

    def post(self, who, path, **body):
        return self.stage.call(f"/spanner/v1/{path}", body, self.tokens[who], "POST")

    def propose(self, who="nina", **more):
        reply = self.post(who, "promotions", model="acme/m", environment="production", **more)
        assert reply.status == 201, reply.body
        return reply.json()["id"]

    def step(self, who, promotion, step, **body):
        return self.post(who, f"promotions/{promotion}/{step}", **body)

    def approve(self, promotion):
        return [self.step(who, promotion, "approve").status for who in ("omar", "pia")]

    def promoted(self):
        promotion = self.propose()
        assert self.approve(promotion) == [200, 200]
        reply = self.step("nina", promotion, "promote")
        assert reply.status == 200, reply.body
        return promotion

    def show(self, promotion, who="nina"):
        return self.get(f"/spanner/v1/promotions/{promotion}", who)

    def shown(self, promotion):
        reply = self.show(promotion)
        assert reply.status == 200, f"{reply.status} {reply.body}"
        return reply.json()

    def chat(self, who):
        return self.stage.call("/v1/chat/completions", CHAT, self.tokens[who]).status


@entry("E", "approvals cover the difference, the roles, the guardrails and the rule")
def approvals():
    role = '[roles]\ncaller = ["view", "infer", "download"]\n'
    edits = {
        "a role redefined": ORGANIZATION + role,
        "approvals raised": ORGANIZATION.replace("approvals = 2", "approvals = 3"),
        "approvers replaced": ORGANIZATION.replace('approvers = ["group:gov"]', 'approvers = ["group:root"]'),
        "`existing` set": ORGANIZATION + 'existing = "refuse"\n',
        "a grant on every model": ORGANIZATION.replace(
            'admin = ["group:root"]', 'admin = ["group:root"]\nreader = ["group:support"]'),
        "a guardrail": None,
    }
    company = Company()
    for what, organization in edits.items():
        promotion = company.propose()
        check(f"{what}: signed by two", [200, 200], company.approve(promotion))
        guardrail = 'forbid (principal, action == Spanner::Action::"delete", resource);'
        if organization:
            company.stage.write("access/organization.toml", organization)
        else:
            company.stage.write("access/policies/g.cedar", f'@id("g") @reason("kept") {guardrail}')
        company.reload()
        shown = company.shown(promotion)
        check(f"{what}: no approval counts", [], shown["approvals"])
        check(f"{what}: it says what changed", True, bool((shown["approvals_void"] or {}).get("because")))
        check(f"{what}: the history has it", "voided", shown["events"][-1]["step"])
        refused = company.step("nina", promotion, "promote")
        check(f"{what}: it is not promoted", (409, "approvals_void"),
              (refused.status, refused.json()["title"]))
        check(f"{what}: nobody gains", 403, company.chat("sam"))
        company.stage.write("access/organization.toml", ORGANIZATION)
        (company.stage.folder / "access/policies/g.cedar").unlink(missing_ok=True)
        company.reload()
        check(f"{what}: undone, it stays void", 409, company.step("nina", promotion, "promote").status)
        company.step("nina", promotion, "withdraw")
    promotion = company.propose()
    company.approve(promotion)
    company.manifest('model = "acme/x"\nowner = "group:qa"\n', "acme/x")
    company.reload()
    check("another model changes: it is promoted", 200, company.step("nina", promotion, "promote").status)
    code, out, said = company.stage.run("ledger", "history", "ledger", "--model", "acme/m")
    check_in("ledger history tells of void approvals", "voided", out + said)


@entry("H", "a rollback that widens takes approvals, or is an emergency")
def rollbacks():
    company = Company()
    first = company.promoted()
    check("support is served", 200, company.chat("sam"))
    company.manifest(MANIFEST.replace("support", "qa"))
    company.reload()
    company.promoted()
    back = {"environment": "production", "reason": "support lost it"}
    refused = company.post("nina", "models/acme/m/rollback", **back)
    check("the maintainer of staging is refused", (409, "approvals_missing"),
          (refused.status, refused.json()["title"]))
    check_in("it says who would gain", "group:corp/support", refused.body)
    check("support stays out", 403, company.chat("sam"))
    restored = company.propose(restores=first)
    check("without approvals: not restored", 409, company.step("nina", restored, "promote").status)
    company.approve(restored)
    check("with two: restored", 200, company.step("nina", restored, "promote").status)
    check("support is served again", 200, company.chat("sam"))
    company.manifest(MANIFEST.replace('"group:support"', '"group:support", "group:qa"'))
    company.reload()
    company.promoted()
    check("one that only narrows is one step", 200,
          company.post("nina", "models/acme/m/rollback", **back).status)
    check("support stays, qa does not", (200, 403), (company.chat("sam"), company.chat("quinn")))
    company.manifest(MANIFEST.replace("support", "qa"))
    company.reload()
    company.promoted()
    emergency = {"environment": "production", "emergency": "support is blind"}
    check("an emergency of nobody's: refused", 403,
          company.post("nina", "models/acme/m/rollback", **emergency).status)
    check("an admin's emergency", 200, company.post("ada", "models/acme/m/rollback", **emergency).status)
    check("support is served once more", 200, company.chat("sam"))
    _, out, _ = company.stage.run("ledger", "history", "ledger", "--model", "acme/m")
    check_in("it is marked", "EMERGENCY", out)


@entry("2", "a fresh ledger is loud about what nobody approved")
def fresh_ledger():
    company = Company(existing=True)
    stage = company.stage
    check_in("the log warns, with the number", "manifests=1", stage.log())
    ready = company.get("/spanner/ready")
    check("readiness counts, and is ready", (200, {"production": 1}),
          (ready.status, ready.json()["promotions"]["unapproved"]))
    metrics = company.get("/spanner/metrics").body
    check_in("a gauge counts", 'spanner_promotions_unapproved{environment="production"} 1', metrics)
    _, out, _ = stage.run("access", "review", "access", "--ledger", "ledger")
    check_in("the review lists it", "production acme/m", out)
    stage.stop()
    shutil.rmtree(stage.folder / "ledger")
    code, out, said = stage.run("check", "--config", "spanner.toml")
    check("check notes it and passes", (0, True), (code, "1 manifests will be adopted" in said))
    stage.write("access/organization.toml", ORGANIZATION + 'existing = "refuse"\n')
    company.start()
    check("with `refuse` nobody is served", 403, company.chat("sam"))
    check("and nothing is unapproved", {"production": 0},
          company.get("/spanner/ready").json()["promotions"]["unapproved"])


@entry("F", "hidden models and promotions are as unknown as none; guardrails are for who answers")
def hidden():
    company = Company()
    promotion = company.promoted()
    company.stage.write("access/policies/g.cedar", '@id("secret-id") @reason("secret reason") forbid '
                        '(principal, action == Spanner::Action::"delete", resource);')
    company.reload()

    def told(reply, name):
        headers = sorted((key, value) for key, value in reply.headers.items()
                         if key.lower() not in ("spanner-decision", "date"))
        return reply.status, headers, reply.body.replace(name, "NAME")

    for action in ("list", "read", "generate", "promote", "approve"):
        answers = [told(company.post("eve", "explain", model=name, action=action), name)
                   for name in ("acme/m", "acme/0")]
        check(f"explain {action}: hidden and unknown alike", answers[1], answers[0])
    none = "019a3c5e-0000-7000-8000-000000000000"
    for step in ("approve", "reject", "withdraw", "promote"):
        body = {"reason": "no"} if step == "reject" else {}
        answers = [told(company.step("eve", name, step, **body), name) for name in (promotion, none)]
        check(f"{step}: hidden and unknown alike", answers[1], answers[0])
    answers = [told(company.show(name, "eve"), name) for name in (promotion, none)]
    check("a promotion: hidden and unknown alike", answers[1], answers[0])
    plain = company.get("/spanner/v1/models/acme/m/access", "sam")
    check("a plain caller sees no guardrail", (200, False), (plain.status, "secret" in plain.body))
    full = company.get("/spanner/v1/models/acme/m/access", "ada")
    check("who answers for it does", True, "secret-id" in full.body)


@entry("12", "histories and records of promotions say what was")
def history():
    company = Company()
    stage, promotion = company.stage, company.promoted()
    for path in (f"promotions/{promotion}", "models/acme/m/history", "models/acme/m/access"):
        check(f"sam reads {path.split('/')[-1][:9]}", 200, company.get(f"/spanner/v1/{path}", "sam").status)
    stage.stop()
    _, out, _ = stage.run("ledger", "history", "ledger", "--model", "acme/m", "--json")
    approval = json.loads(out.splitlines()[0])["approval"]
    check("whoever reads is not served", (0, {}), (approval["served"], approval["callers"]))
    company.start()
    check("a call is served", 200, company.chat("sam"))
    back = {"environment": "production", "reason": "away"}
    check("a rollback", 200, company.post("nina", "models/acme/m/rollback", **back).status)
    again = company.post("nina", "models/acme/m/rollback", **back)
    check("a second one says that nothing is there", (409, "nothing_promoted"),
          (again.status, again.json()["title"]))
    other = company.propose()
    emergency = company.step("nina", other, "promote", emergency="now")
    check("an emergency without the right", 403, emergency.status)
    unlisted = company.step("ada", other, "approve")
    check("an admin who is no approver", "not_an_approver", unlisted.json()["title"])
    marks = stage.log().count("another access is in force")
    company.reload()
    check("a reload without a change is none", marks, stage.log().count("another access is in force"))
    stage.stop()
    rows = {row["decision"]["id"]: row for row in stage.rows() if row.get("decision")}

    def said(reply):
        step = rows[reply.headers["spanner-decision"]]
        request = rows[step["decision"]["parent"]]
        return [(it["decision"]["effect"], it["decision"]["reason"], it["outcome"]["class"],
                 it["outcome"]["status"], it["outcome"].get("reason")) for it in (request, step)]

    check("the records of the second rollback",
          [("allow", "admitted", "refused", 409, "nothing_promoted"),
           ("allow", "granted", "refused", 409, "nothing_promoted")], said(again))
    check("those of the emergency",
          [("allow", "admitted", "refused", 403, "authz.no_permit"),
           ("deny", "authz.no_permit", "refused", 403, None)], said(emergency))
    check("those of whoever is no approver",
          [("allow", "admitted", "refused", 403, "not_an_approver"),
           ("allow", "granted", "refused", 403, "not_an_approver")], said(unlisted))
    _, out, _ = stage.run("ledger", "history", "ledger", "--json")
    reloads = [line for line in out.splitlines() if '"access.reloaded"' in line]
    digests = [json.loads(line)["body"] for line in reloads]
    check("no reload is recorded with the digest that was there", [],
          [body for body in digests if body["digest"] == body["before"]])


@entry("J", "a removed group, manifests too large, open promotions, invisible reasons")
def steady():
    company = Company(MANIFEST.replace('"group:support"', '"group:support", "group:qa"'))
    stage = company.stage
    company.promoted()
    check("both are served", (200, 200), (company.chat("sam"), company.chat("quinn")))
    company.manifest(MANIFEST.replace("support", "qa"))
    stage.write("access/organization.toml", ORGANIZATION.replace('"support", ', ""))
    stage.stop()
    code, _, said = stage.run("check", "--config", "spanner.toml")
    check("check knows of the removed group", (0, True), (code, "group:support" in said))
    company.start()
    check("the proxy starts; the group is out and nobody else", (403, 200),
          (company.chat("sam"), company.chat("quinn")))
    check("readiness counts it", (200, 1), (
        company.get("/spanner/ready").status,
        company.get("/spanner/ready").json()["promotions"]["void_grants"]))
    stage.write("access/organization.toml", ORGANIZATION)

    # One does not fit with its difference, one not even by itself.
    names = ", ".join(f'"service:s{n:05}"' for n in range(6_500))
    large = {"6500 services": MANIFEST + f"admin = [{names}]\n",
             "257 KiB": MANIFEST + f"# {'x' * 257 * 1024}\n"}
    for what, manifest in large.items():
        company.manifest(manifest)
        company.reload()
        refused = company.post("nina", "promotions", model="acme/m", environment="production")
        check(f"{what}: 413 with the number", (413, True),
              (refused.status, " bytes" in refused.json()["detail"]))
    company.manifest(MANIFEST + f"# {'x' * 250 * 1000}\n")
    company.reload()
    before, statuses = stage.memory(), []
    for _ in range(200):
        reply = company.post("nina", "promotions", model="acme/m", environment="production")
        statuses.append(reply.status)
    check("open promotions are bounded", (201, 409), (statuses[0], statuses[-1]))
    grown = round(stage.memory() - before)
    check("200 proposals of 250 KB take", "less than 40 MiB", f"{grown} MiB", grown < 40)
    promotion = company.get("/spanner/v1/promotions?standing=open", "nina").json()["promotions"][0]["id"]
    for reason in ("\u200b\u2060", "\u202e\u2066", "\u3164", " \u2003"):
        bodies = [company.step("ada", promotion, "promote", emergency=reason),
                  company.step("omar", promotion, "reject", reason=reason)]
        check(f"{ascii(reason)} is no reason", [400, 400], [it.status for it in bodies])
