"""Find secrets in what a run has written (P6)."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote_to_bytes

import psutil

from schemas.roles import Role
from tests.testbed.simcloud import credentials
from workers.process.echoes import PIECE, forms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.testbed.cluster import Cluster

# The files that hold secrets by design, and the broker's own.
SECRET_FILES = frozenset(
    {"refresh.token", "broker.password", "rabbitmq.conf", *(f"{role}.password" for role in Role)}
)
# Prefixes of the simulated tokens, which every one of them has.
PREFIXES = ("sim-access-", "sim-refresh-", "gAAAAAB")
# A real Keystone does not report the tokens that it issued, but all of them begin like this
# (Fernet's version byte and time).
KEYSTONE_TOKEN = re.compile(rb"gAAAAA[A-Za-z0-9_-]{80,}")


def secrets_found(cluster: Cluster) -> set[str]:
    """Return the names of files that contain a token or password: logs, stores, spool, broker data.

    The cloud's own files are not searched.
    """
    secrets = [secret.encode() for secret in cluster.cloud.issued_secrets()]
    secrets += [cluster.broker.admin.password.encode(), credentials.PASSWORD.encode()]
    secrets += [cluster.roles.users.secret_file(role).read_bytes().strip() for role in Role]
    files = (path for path in cluster.folder.rglob("*") if path.is_file())
    clouds = cluster.folder / "os"
    found = set()
    for path in files:
        content = path.read_bytes()
        known = any(secret in content for secret in secrets) or KEYSTONE_TOKEN.search(content)
        if known and not path.is_relative_to(clouds):
            found.add(path.name)
    return found


def issued_pieces(cluster: Cluster) -> dict[str, bytes]:
    """The first piece of a token, or of a role's password, in each file of Slurm, Lamplighter and the broker."""
    held = [cluster.roles.users.secret_file(role).read_text().strip() for role in Role]
    written = {
        str(path.relative_to(cluster.folder)): path.read_bytes()
        for path in cluster.folder.rglob("*")
        if path.is_file() and path.name not in SECRET_FILES
    }
    return pieces_found([*random_parts(cluster.cloud.issued_secrets()), *held], written)


def random_parts(tokens: Iterable[str]) -> set[str]:
    """Of the simulated tokens: what follows the prefix that each of them has."""
    return {
        token.removeprefix(prefix)
        for token in tokens
        for prefix in PREFIXES
        if token.startswith(prefix)
    }


def pieces_found(secrets: Iterable[str], written: Mapping[str, bytes]) -> dict[str, bytes]:
    """The first piece of a secret, 8 of its characters in any notation, in each text that has one.

    Secrets must be random: a word in one is found everywhere.
    """
    written = {name: _all_ways(text) for name, text in written.items()}
    pieces: dict[int, set[bytes]] = {}
    for secret in secrets:
        for form in forms(secret):
            # Base64 and hexadecimal need more characters for the same piece
            coded, size = form.lower().encode(), max(PIECE, PIECE * len(form) // len(secret))
            found = pieces.setdefault(size, set())
            found.update(coded[at : at + size] for at in range(len(coded) - size + 1))
    # One pass tells most texts from those that are worth one for each size.
    starts = {piece[:PIECE] for known in pieces.values() for piece in known}
    worth = {
        name: text
        for name, text in written.items()
        if not starts.isdisjoint(text[at : at + PIECE] for at in range(len(text)))
    }
    return {
        name: piece
        for name, text in worth.items()
        for size, known in pieces.items()
        for piece in ({text[at : at + size] for at in range(len(text) - size + 1)} & known)
    }


def _all_ways(text: bytes) -> bytes:
    """A text, also without line ends and escapes; in small letters."""
    joined = re.sub(rb"\\+[nrt]|\s+", b"", text)
    plain = re.sub(rb"\\+u00([0-7][0-9a-fA-F])", lambda c: bytes([int(c[1], 16)]), joined)
    return b"\0".join({text, joined, plain, unquote_to_bytes(plain)}).lower()


class Children:
    """Arguments and environments of all processes that this one starts inside the block."""

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                for what in ("cmdline", "environ"):
                    with suppress(OSError):
                        text = Path(f"/proc/{child.pid}/{what}").read_bytes()
                        self.seen[f"{what} of {child.pid}: {text[:60]!r}"] = text
