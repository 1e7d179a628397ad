"""`make bench`: run the benchmarks, keep their results, and write docs/performance.md from them."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.machine import this_commit, this_machine
from benchmarks.page import CHARTS, write
from benchmarks.results import VARIABLE, Findings, Result, keep, kept, note_failure

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
QUICK = ROOT / "build/benchmarks-quick"
# In the order of the page; the options with which `--quick` tries that a benchmark works.
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "hooks": ("--rounds", "3"),
    "latency": ("--runs", "3", "--queued", "200"),
    "peers": ("--nodes", "1", "5", "--threaded", "--troubled", "6", "--boot", "1"),
    "fleet": ("--runs", "1", "--nodes", "5", "--boot", "1"),
    "workers": ("--nodes", "20", "--workers", "1", "2"),
    "backlog": ("--nodes", "20", "--calls", "5"),
    "prolog": ("--runs", "1"),
    "prolog_waiting": ("--jobs", "10", "--seconds", "5"),
    "boots": ("--runs", "2", "--boot", "1"),
    "nova": ("--nodes", "5", "--runs", "1"),
    "broker_cluster": ("--nodes", "10"),
    "memory": ("--requests", "2000"),
    "idle": ("--seconds", "5"),
    "letters": ("--letters", "2000"),
    "audit": ("--records", "40000"),
    "report": ("--outcomes", "2000"),
    "console": (),
}


def main() -> int:
    """Run all benchmarks or one; return 1 if one could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, all below build/")
    parser.add_argument("--page", action="store_true", help="write the page, measure nothing")
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="only this benchmark")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="options of the benchmark")
    given = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell lets us ignore them
        signal.signal(number, signal.default_int_handler)
    root = QUICK if given.quick else ROOT
    results = root / "results" if given.quick else RESULTS
    names = [given.name] if given.name else list(BENCHMARKS)
    failed = []
    if given.quick and not given.name:
        shutil.rmtree(root, ignore_errors=True)
    for name in () if given.page else names:
        print(f"\n== {name}", flush=True)
        options = BENCHMARKS[name] if given.quick and not given.options else tuple(given.options)
        began = _utc(time.time())
        result = run(name, options)
        if result is None:
            failed.append(name)
            note_failure(results, name, began)
        else:
            keep(results, name, result)
        write_page(root, results)  # after each, so that an interruption loses little
    write_page(root, results)
    if failed:
        print(f"failed, which the page says beside an older result: {', '.join(failed)}")
    return 1 if failed else 0


def run(name: str, options: tuple[str, ...]) -> Result | None:
    """Run a benchmark; None if it failed."""
    load, began, clock = os.getloadavg()[0], time.time(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "findings.json"
        child = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{name}", *options],
            env={**os.environ, VARIABLE: str(file)},
            cwd=ROOT,
            start_new_session=True,  # a terminal's Ctrl-C reaches it once, from here
        )
        try:
            child.wait()
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
                child.wait()  # until its servers have ended
        if child.returncode or not file.exists():
            return None
        findings = msgspec.json.decode(file.read_bytes(), type=Findings)
    return Result(
        " ".join(("python -m benchmarks", name, *options)),
        _utc(began),
        (time.monotonic() - clock) / 60,
        load,
        this_commit(),
        this_machine(),
        findings,
    )


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def page_of(results: Path) -> dict[str, str]:
    """The text of the page and its charts, by their paths in the source."""
    found = kept(results, list(BENCHMARKS))
    return write(found, [name for name in BENCHMARKS if name not in found])


def write_page(root: Path, results: Path) -> None:
    """Write the page and its charts below `root`; charts that no result has are removed."""
    files = page_of(results)
    for old in (root / CHARTS).glob("*.svg"):
        old.unlink()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


if __name__ == "__main__":
    sys.exit(main())
