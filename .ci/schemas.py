"""Validates files with their JSON Schemas: all examples, and rows that must pass or must fail."""

import json
import sys
import tomllib
from pathlib import Path

from jsonschema import Draft7Validator, Draft202012Validator

SCHEMAS = Path("spanner-cedar/schemas")


def validator(kind):
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


VALIDATORS = {kind: validator(kind) for kind in ("organization", "manifest", "case")}


def examples():
    """Every file of an access directory below examples/, with its kind."""
    for organization in sorted(Path("examples").rglob("organization.toml")):
        access = organization.parent
        yield "organization", organization
        yield from (("manifest", it) for it in sorted(access.glob("models/**/*.toml")))
        yield from (("case", it) for it in sorted(access.glob("cases/**/*.toml")))


def configurations():
    """Every configuration of the proxy in the repository, and every one that the guide shows whole."""
    for file in sorted(Path(".").glob("spanner-*/**/spanner.toml")):
        yield str(file), file.read_text()
    for page in sorted(Path("docs/src").rglob("*.md")):
        for block in page.read_text().split("```toml,proxy\n")[1:]:
            text = block.split("```")[0]
            if "[[upstream]]" in text and "[[issuer]]" in text:
                yield str(page), text


def proxy():
    """Validates configurations and rows by the schema of the proxy."""
    schema = json.loads(Path("spanner-proxy/schemas/proxy.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    found = list(configurations())
    rows = tomllib.loads(Path("spanner-proxy/schemas/rows.toml").read_text())["row"]
    faults = []
    for name, text in found:
        faults += [f"{name}: {it.message}" for it in validator.iter_errors(tomllib.loads(text))]
    for row in rows:
        errors = list(validator.iter_errors(tomllib.loads(row["text"])))
        if (row.get("good", False) or row.get("only_reader", False)) != (not errors):
            faults.append(f"proxy row ({row.get('why', 'good')}): {errors or 'accepted'}")
    if not found:
        faults.append("no configuration of the proxy was found")
    print(f"schemas: {len(found)} configurations of the proxy and {len(rows)} rows")
    return faults


def main():
    faults, checked = [], {"organization": 0, "manifest": 0, "case": 0}
    for kind, file in examples():
        checked[kind] += 1
        document = tomllib.loads(file.read_text())
        faults += [f"{file}: {it.message}" for it in VALIDATORS[kind].iter_errors(document)]
    rows = tomllib.loads((SCHEMAS / "rows.toml").read_text())["row"]
    for row in rows:
        errors = list(VALIDATORS[row["file"]].iter_errors(tomllib.loads(row["text"])))
        expected = row.get("good", False) or row.get("only_loader", False)
        if expected != (not errors):
            faults.append(f"{row['file']} row ({row.get('why', 'good')}): {errors or 'accepted'}")
    faults += [f"no example of a {kind} was found" for kind, count in checked.items() if not count]
    faults += proxy()
    print(f"schemas: {checked} examples and {len(rows)} rows")
    if faults:
        sys.exit("\n".join(faults))


main()
