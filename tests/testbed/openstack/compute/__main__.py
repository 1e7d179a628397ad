"""Start nova-compute with the driver in this folder; the services' interpreter runs this.

Nova loads drivers only from its package ``nova.virt`` (nova/virt/driver.py), so this folder is added
to that package's path instead of being copied into the installed Nova.
"""

import sys
from pathlib import Path

# Nova must be imported first: it chooses its kind of threads during the import.
from nova.cmd.compute import main  # type: ignore[import-not-found]  # isort: skip
from nova import virt  # type: ignore[import-not-found]

if __name__ == "__main__":
    virt.__path__.append(str(Path(__file__).parent))
    sys.argv[0] = "nova-compute"
    main()
