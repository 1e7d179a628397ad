"""Run all property tests again and again with fresh random examples: python -m tests.testbed.fuzz.

Most of them feed parsers of what strangers say: messages, Slurm's output, answers of clouds and login
providers, configuration. A failure ends the run with status 1; Hypothesis prints the smallest example,
which is to become a test of its own.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("tests", nargs="*", default=["tests/unit"])
    options = parser.parse_args()
    end = time.monotonic() + options.minutes * 60
    passes = 0
    while time.monotonic() < end:
        seed = random.SystemRandom().randrange(2**32)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-x", "-m", "hypothesis"),
                *("--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}", "--timeout=0"),
                *options.tests,
            ],
            check=False,
        )
        if done.returncode:
            sys.stdout.write(f"fuzz: seed {seed} failed after {passes} good passes\n")
            return 1
        passes += 1
        sys.stdout.write(f"fuzz: {passes} passes without a failure\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
