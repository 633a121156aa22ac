"""Runs the entries, or those named: run.py PROXY [ENTRY …]. Exits 1 if a check failed twice."""

import importlib
import pkgutil
import sys
import time
import traceback

import entries
import stage


def run(entry):
    """The results of an entry; an exception counts as a failed check."""
    stage.RESULTS.clear()
    try:
        entry.run()
        if not stage.RESULTS:
            stage.check("runs", "at least one check", "none")
    except Exception:
        stage.check("runs to its end", "no exception", traceback.format_exc())
    finally:
        stage.stop_all()
    return list(stage.RESULTS)


def main():
    stage.PROXY = sys.argv[1]
    wanted = set(sys.argv[2:])
    for module in sorted(found.name for found in pkgutil.iter_modules(entries.__path__)):
        importlib.import_module(f"entries.{module}")
    unknown = wanted - {entry.name for entry in stage.ENTRIES}
    if unknown:
        sys.exit(f"no such entry: {', '.join(sorted(unknown))}")
    done = []
    for entry in sorted(stage.ENTRIES, key=stage.Entry.order):
        if wanted and entry.name not in wanted:
            continue
        began = time.monotonic()
        results = run(entry)
        if not all(result.ok for result in results):
            # A machine that is busy for a moment is no defect; what fails twice is.
            for result in results:
                if not result.ok:
                    print(f"     once: {result.line()}", flush=True)
            results = run(entry)
        done.extend(results)
        print(f"{entry.name:>4} {entry.title} ({time.monotonic() - began:.0f} s)", flush=True)
        for result in results:
            print(f"     {result.line()}", flush=True)
    failed = [result for result in done if not result.ok]
    print(f"{len(done) - len(failed)} passed, {len(failed)} failed")
    sys.exit(bool(failed))


main()
