"""A site for tests of the token service: configuration, secrets and topology, on a fresh vhost."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from producers.amqp import connection_parameters
from tests.testbed.simcloud import credentials
from workers import topology
from workers.browse import browse
from workers.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def secret(path: Path, text: str) -> Path:
    """Write a file that only its owner may read, replacing what was there."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)
    return path


@dataclass(frozen=True)
class TokenSite:
    """A folder with lamplighter.toml, whose clouds are given as `[clouds]` tables.

    Attributes:
        folder: where it and its secrets are.
        broker_url: with the password.
    """

    folder: Path
    broker_url: str

    def settings(
        self,
        clouds: Mapping[str, Mapping[str, object]],
        tokens: Mapping[str, object] | None = None,
        broker_url: str | None = None,
    ) -> Settings:
        """Write the configuration and read it as a worker does."""
        lines = [
            'cluster = "test"',
            f"broker = {inline({'url': broker_url or self.broker_url})}",
            f"store = {inline({'url': 'sqlite:///state.db', 'audit_url': 'sqlite:///audit.db'})}",
            f"tokens = {inline(tokens or {})}",
            "[clouds]",
            *(f"{name} = {inline(cloud)}" for name, cloud in clouds.items()),
        ]
        path = self.folder / "lamplighter.toml"
        path.write_text("\n".join(lines) + "\n")
        return load(path)

    def declare(self, settings: Settings) -> None:
        """Put the topology in place."""
        with browse(connection_parameters(settings.broker, "test topology")) as channel:
            topology.apply(channel, topology.topology())

    def password_cloud(self, auth_url: str) -> dict[str, object]:
        """A cloud of the simulation, by password."""
        secret(self.folder / "password", credentials.PASSWORD)
        source = {
            "type": "password",
            "username": credentials.USERNAME,
            "password_file": "password",
        }
        return {"auth_url": auth_url, "project_id": credentials.PROJECT_ID, "source": source}

    def application_credential_cloud(self, auth_url: str) -> dict[str, object]:
        """A cloud of the simulation, by application credential."""
        secret(self.folder / "application-secret", credentials.APPLICATION_CREDENTIAL_SECRET)
        source = {
            "type": "application_credential",
            "id": credentials.APPLICATION_CREDENTIAL_ID,
            "secret_file": "application-secret",
        }
        return {"auth_url": auth_url, "source": source}


def inline(table: Mapping[str, object]) -> str:
    """A table as inline TOML; of strings, numbers, lists of them, and tables."""
    pairs = (
        f"{key} = {inline(value) if isinstance(value, dict) else json.dumps(value)}"
        for key, value in table.items()
    )
    return "{ " + ", ".join(pairs) + " }"
