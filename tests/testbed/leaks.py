"""Find secrets in all files that a cluster has written (P6)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from schemas.roles import Role
from tests.testbed.simcloud import credentials

if TYPE_CHECKING:
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
