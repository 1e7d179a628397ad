"""A program: refreshes a login, but freezes itself (SIGSTOP) between its lease and its call."""

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
from workers.tokens.sources import make_source
from workers.tokens.vault import Turn, Vault
from workers.tokens.vault_key import load_key

if TYPE_CHECKING:
    from collections.abc import Iterator


class FreezingVault(Vault):
    """Freezes the process as soon as it has the turn."""

    @contextmanager
    def turn(self, file_token: str) -> Iterator[Turn]:
        """As ever, with a long sleep in between."""
        with super().turn(file_token) as turn:
            os.kill(os.getpid(), signal.SIGSTOP)
            yield turn


def main(config: str) -> None:
    """Print what came of it."""
    settings = load(Path(config))
    store = open_store(settings.store.url, "state")
    vault = FreezingVault(store, load_key(settings.tokens.key_file), "one", "frozen")
    source = make_source(settings.clouds["one"], lambda: vault)
    try:
        source.fetch()
    except SourceError as error:
        print(f"refused: {error}")  # noqa: T201 - for the test that reads the log
    else:
        print("logged in")  # noqa: T201
    store.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
