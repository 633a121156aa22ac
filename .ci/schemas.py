"""Validates access files by their schemas: all examples, and rows that must and must not pass."""

import json
import sys
import tomllib
from pathlib import Path

from jsonschema import Draft7Validator

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
    print(f"schemas: {checked} examples and {len(rows)} rows")
    if faults:
        sys.exit("\n".join(faults))


main()
