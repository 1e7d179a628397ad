"""Run a storm, and say what was checked and what does not hold; exit status 1 if anything does not.

python -m storm [--minutes 5] [--seed N] [--nodes 51] [--brokers 1|3] [--store sqlite|postgresql] [--keep]
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from storm import own_network
from storm.report import report
from storm.run import run


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--nodes", type=int, default=51)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), help="default: by the seed")
    parser.add_argument("--folder", type=Path, help="for all files; a short path")
    parser.add_argument("--keep", action="store_true", help="keep the folder, whatever comes")
    options = parser.parse_args()
    if not own_network.is_entered():
        own_network.enter()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell lets us ignore them
        signal.signal(number, signal.default_int_handler)
    seed = int(time.time()) if options.seed is None else options.seed
    folder: Path = options.folder or Path(tempfile.mkdtemp(prefix="storm-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # slurmd runs jobs as other users, which must reach the files below
    print(f"storm: seed {seed}, folder {folder}", flush=True)
    result = run(
        folder,
        seed=seed,
        seconds=options.minutes * 60,
        nodes=options.nodes,
        brokers=options.brokers,
        store=options.store,
        say=lambda text: print(f"{time.strftime('%H:%M:%S')} {text}", flush=True),
    )
    print("\n".join(report(result)))
    if result.verdict.violations:
        print(f"storm: all logs are in {folder}")
        return 1
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
