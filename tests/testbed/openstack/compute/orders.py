"""A test's orders to the driver: how long to wait, what to fail, which hook to run."""

import json
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nova import exception  # type: ignore[import-not-found]


class Orders:
    """The file of orders, read again for each operation.

    Its content; every member is optional::

        {"seconds": {"power_on": 2.5},
         "failures": [{"operation": "power_on", "names": "node1*", "message": "no such disk"}],
         "hook": {"arguments": ["boot-node", "{name}"], "log_file": "/path", "environment": {},
                  "timeout_seconds": 60}}
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def obey(self, operation: str, name: str) -> None:
        """Wait for the ordered duration of the operation, then fail if that is ordered for this guest.

        Raises:
            NovaException: with the ordered message.
        """
        orders = self._read()
        time.sleep(orders.get("seconds", {}).get(operation, 0))
        for failure in orders.get("failures", []):
            if failure["operation"] == operation and fnmatchcase(name, failure["names"]):
                raise exception.NovaException(failure["message"])

    def hook(self) -> dict[str, Any] | None:
        """Return the power hook's specification; None if there is no hook."""
        hook: dict[str, Any] | None = self._read().get("hook")
        return hook

    def _read(self) -> dict[str, Any]:
        try:
            orders: dict[str, Any] = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        return orders
