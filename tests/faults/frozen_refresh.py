"""A program that refreshes a login and freezes itself (SIGSTOP) between its lease and its call."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workers.config.settings import load
from workers.store.database import open_store
from workers.tokens.errors import SourceError
from workers.tokens.revocations import Revocations
from workers.tokens.sources import make_source
from workers.tokens.vault import LeasedToken, Vault
from workers.tokens.vault_key import load_keys

if TYPE_CHECKING:
    from collections.abc import Iterator


class FreezingVault(Vault):
    """Freezes the process as soon as it holds the lease."""

    @contextmanager
    def lease(self, file_token: str) -> Iterator[LeasedToken]:
        """Lease, then freeze."""
        with super().lease(file_token) as leased:
            os.kill(os.getpid(), signal.SIGSTOP)
            yield leased


def main(config: str) -> None:
    """Refresh, and print the result."""
    settings = load(Path(config))
    store = open_store(settings.store.url, "state")
    vault = FreezingVault(store, load_keys(settings.tokens.key_file), "one", "frozen")
    source = make_source(settings.clouds["one"], lambda: vault, Revocations(store, "one"))
    try:
        source.fetch()
    except SourceError as error:
        print(f"refused: {error}")  # noqa: T201 - for the test that reads the log
    else:
        print("logged in")  # noqa: T201
    store.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
