"""`make bench`: run every benchmark; each prints its table."""

import subprocess
import sys

BENCHMARKS = (
    "hooks",
    "prolog",
    "prolog_waiting",
    "boots",
    "fleet",
    "workers",
    "memory",
    "idle",
    "nova",
    "broker_cluster",
    "letters",
    "audit",
    "report",
    "console",
)


def main() -> int:
    """Run all benchmarks; return 1 if one could not run."""
    codes = []
    for name in BENCHMARKS:
        print(f"\n== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False)
        codes.append(done.returncode)
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
