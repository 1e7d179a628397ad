"""What the test orders the driver to do: how long to wait, what to fail, which hook to run."""

import json
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nova import exception  # type: ignore[import-not-found]


class Orders:
    """The file of orders, read anew each time.

    Its content, all of it optional::

        {"seconds": {"power_on": 2.5},
         "failures": [{"operation": "power_on", "names": "node1*", "message": "no such disk"}],
         "hook": {"arguments": ["boot-node", "{name}"], "log_file": "/path", "environment": {},
                  "timeout_seconds": 60}}
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def obey(self, operation: str, name: str) -> None:
        """Wait as long as the operation shall take, then fail if it shall for this guest.

        Raises:
            NovaException: with the message that was ordered.
        """
        orders = self._read()
        time.sleep(orders.get("seconds", {}).get(operation, 0))
        for failure in orders.get("failures", []):
            if failure["operation"] == operation and fnmatchcase(name, failure["names"]):
                raise exception.NovaException(failure["message"])

    def hook(self) -> dict[str, Any] | None:
        """Return the power hook's specification, if there is one."""
        hook: dict[str, Any] | None = self._read().get("hook")
        return hook

    def _read(self) -> dict[str, Any]:
        try:
            orders: dict[str, Any] = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        return orders
