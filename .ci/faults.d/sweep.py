"""Lets the system calls of a program that writes a ledger fail, one at a time; see `.ci/faults`."""

import collections
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

CALLS = ("openat", "write", "fdatasync", "fsync", "ftruncate", "fallocate", "rename", "unlink", "mkdir")
EVENTS = 14
FAULTS = ("error=EIO", "error=ENOSPC", "error=EINTR", "signal=SIGKILL")


def store(record, ledger, first, inject=None):
    """Stores events, with a fault if one is given; returns the result and the calls that were made."""
    trace = ledger + ".trace"
    line = ["strace", "-f", "-o", trace, "-e", "trace=" + ",".join(CALLS)]
    line += ["-e", "inject=" + inject] if inject else []
    line += [record, ledger, str(first), str(first + EVENTS - 1)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    with open(trace, errors="replace") as file:
        return done, file.read()


def attempt(record, call, fault, number, again):
    """Injects one fault, into a new or an existing ledger; returns its name, whether it occurred, how
    many events were stored, and the problem found."""
    name = f"{call}:{fault}:when={number}"
    with tempfile.TemporaryDirectory() as folder:
        ledger = os.path.join(folder, "ledger")
        said = store(record, ledger, 0)[0].stdout if again else ""
        done, trace = store(record, ledger, EVENTS, name)
        said += done.stdout
        stored = done.stdout.count("stored")
        met = "(INJECTED)" in trace or "+++ killed by SIGKILL +++" in trace
        if "panicked" in done.stderr:
            return name, met, stored, done.stderr
        line = [record, ledger, "check"]
        checked = subprocess.run(line, input=said, capture_output=True, text=True, timeout=60)
        return name, met, stored, checked.stderr if checked.returncode else ""


def most(trace):
    """The number of calls of each kind that the busiest thread made; strace counts faults per thread."""
    made = collections.Counter(re.findall(r"^(\d+) +(\w+)\(", trace, re.M))
    return {call: max((n for (_, other), n in made.items() if other == call), default=0) for call in CALLS}


def main():
    record, jobs = os.path.abspath(sys.argv[1]), []
    with tempfile.TemporaryDirectory() as folder:
        for again in (False, True):
            done, trace = store(record, os.path.join(folder, "ledger"), EVENTS * again)
            assert done.returncode == 0 and done.stdout.count("stored") == EVENTS, done
            for call, made in most(trace).items():
                numbers = range(1, made + 1)
                jobs += [(call, fault, n, again) for n in numbers for fault in FAULTS]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda job: attempt(record, *job), jobs))
    met = [result for result in results if result[1]]
    wrong = [result for result in results if result[3]]
    for name, _, stored, why in wrong:
        print(f"{name}, after {stored} events: {why.strip()}")
    print(f"{len(met)} faults met of {len(results)} meant, {len(wrong)} with consequences")
    # A sweep that meets nothing says nothing.
    sys.exit(bool(wrong) or len(met) < len(results) * 2 // 3)


if __name__ == "__main__":
    main()
