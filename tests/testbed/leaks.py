"""Find secrets in what a run has written (P6)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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


def pieces_found(secrets: Iterable[str], written: Mapping[str, bytes]) -> dict[str, bytes]:
    """The first piece of a secret, 8 of its characters in any notation, in each text that has one.

    Secrets must be random: a word in one is found everywhere.
    """
    pieces: dict[int, set[bytes]] = {}
    for secret in secrets:
        for form in forms(secret):
            # Base64 and hexadecimal need more characters for the same piece
            coded, size = form.encode(), PIECE * len(form) // len(secret)
            found = pieces.setdefault(size, set())
            found.update(coded[at : at + size] for at in range(len(coded) - size + 1))
    return {
        name: piece
        for name, text in written.items()
        for size, known in pieces.items()
        for piece in ({text[at : at + size] for at in range(len(text) - size + 1)} & known)
    }
