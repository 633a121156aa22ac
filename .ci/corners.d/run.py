"""Runs the entries, or those named: run.py PROXY [ENTRY …]. Exits 1 if a check failed."""

import importlib
import pkgutil
import sys
import time
import traceback

import entries
import stage


def main():
    stage.PROXY = sys.argv[1]
    wanted = set(sys.argv[2:])
    for module in sorted(found.name for found in pkgutil.iter_modules(entries.__path__)):
        importlib.import_module(f"entries.{module}")
    unknown = wanted - {entry.name for entry in stage.ENTRIES}
    if unknown:
        sys.exit(f"no such entry: {', '.join(sorted(unknown))}")
    for entry in sorted(stage.ENTRIES, key=stage.Entry.order):
        if wanted and entry.name not in wanted:
            continue
        began = time.monotonic()
        before = len(stage.RESULTS)
        try:
            entry.run()
            if len(stage.RESULTS) == before:
                stage.check("runs", "at least one check", "none")
        except Exception:
            stage.check("runs to its end", "no exception", traceback.format_exc())
        finally:
            stage.stop_all()
        print(f"{entry.name:>4} {entry.title} ({time.monotonic() - began:.0f} s)", flush=True)
        for result in stage.RESULTS[before:]:
            print(f"     {result.line()}", flush=True)
    failed = [result for result in stage.RESULTS if not result.ok]
    print(f"{len(stage.RESULTS) - len(failed)} passed, {len(failed)} failed")
    sys.exit(bool(failed))


main()
