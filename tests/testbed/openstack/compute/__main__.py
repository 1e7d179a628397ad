"""Starts nova-compute with the driver of this folder; run by the services' interpreter.

Nova loads drivers from its own package ``nova.virt`` alone (nova/virt/driver.py), so the folder is
added to that package's path instead of being copied into the installed Nova.
"""

import sys
from pathlib import Path

# First of all Nova: it chooses its kind of threads while it is imported.
from nova.cmd.compute import main  # type: ignore[import-not-found]  # isort: skip
from nova import virt  # type: ignore[import-not-found]

if __name__ == "__main__":
    virt.__path__.append(str(Path(__file__).parent))
    sys.argv[0] = "nova-compute"
    main()
