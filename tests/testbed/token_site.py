"""An installation with simulated clouds, and the files with their secrets."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.testbed.broker_address import broker_fields
from tests.testbed.installation import Installation
from tests.testbed.simcloud import credentials
from workers.config.settings import Settings, load
from workers.process.stop import Stop
from workers.store.database import open_store
from workers.tokens.service import TokenService, make_sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.testbed.simcloud.client import SimControl

Table = dict[str, object]


class TokenSite(Installation):
    """An installation to which a test adds clouds."""

    def configure(
        self,
        clouds: Mapping[str, Table],
        tokens: Table | None = None,
        broker_url: str | None = None,
    ) -> Settings:
        """Write the configuration, and load it as a worker does.

        Args:
            clouds: the tables [clouds.NAME].
            tokens: the table [tokens].
            broker_url: of another user, instead of the installation's.
        """
        text = self.config.read_text().partition("\n[tokens]")[0]
        lines = [text, "[tokens]", *(_pair(item) for item in (tokens or {}).items()), "[clouds]"]
        lines += [_pair(item) for item in clouds.items()]
        path = self.config
        if broker_url is not None:
            head, _, rest = text.partition("[broker]\n")
            rest = rest[rest.index("\n[") :]
            fields = broker_fields(
                self.folder, [broker_url], f"{urlsplit(broker_url).username}.password"
            )
            lines[0] = "\n".join([f"{head}[broker]", *fields, rest])
            path = self.folder / "another.toml"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        return load(path)

    def password_cloud(self, cloud: SimControl, username: str = credentials.USERNAME) -> Table:
        """A table [clouds.NAME] with a password."""
        return {
            "auth_url": cloud.auth_url,
            "project_id": credentials.PROJECT_ID,
            "source": {
                "type": "password",
                "username": username,
                "password_file": self.secret("password", credentials.PASSWORD).name,
            },
        }

    def application_credential_cloud(self, cloud: SimControl) -> Table:
        """A table [clouds.NAME] with an application credential."""
        secret = self.secret("application-secret", credentials.APPLICATION_CREDENTIAL_SECRET)
        return {
            "auth_url": cloud.auth_url,
            "source": {
                "type": "application_credential",
                "id": credentials.APPLICATION_CREDENTIAL_ID,
                "secret_file": secret.name,
            },
        }

    def refresh_token_cloud(self, cloud: SimControl, token: str | None = None) -> Table:
        """A table [clouds.NAME] with a refresh token, as at EGI; by default of a new login."""
        secret = self.secret("refresh-token", token or cloud.mint_refresh_token())
        return {
            "auth_url": cloud.auth_url,
            "project_id": credentials.PROJECT_ID,
            "source": {
                "type": "oidc_refresh_token",
                "refresh_token_file": secret.name,
                "token_endpoint": cloud.token_endpoint,
                "client_id": credentials.PUBLIC_CLIENT,
            },
        }

    def client_credentials_cloud(self, cloud: SimControl) -> Table:
        """A table [clouds.NAME] with a service account, whose secret a command prints."""
        secret = self.secret("client-secret", credentials.CONFIDENTIAL_CLIENT_SECRET)
        return {
            "auth_url": cloud.auth_url,
            "project_id": credentials.PROJECT_ID,
            "source": {
                "type": "oidc_client_credentials",
                "client_id": credentials.CONFIDENTIAL_CLIENT,
                "client_secret_command": ["cat", str(secret)],
                "token_endpoint": cloud.token_endpoint,
            },
        }

    def secret(self, name: str, text: str) -> Path:
        """Write a secret to a file that only its owner may read, as an operator does."""
        path = self.folder / name
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{text}\n")
        fresh.rename(path)
        return path


@contextmanager
def serving(settings: Settings, name: str = "tokens under test") -> Iterator[TokenService]:
    """Run a token service in a thread of this process."""
    store = open_store(settings.store.url, "state")
    service = TokenService(settings, name, make_sources(settings, store, name))
    stop = Stop()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        assert service.link.wait_up(10.0)
        yield service
    finally:
        stop.set()
        thread.join()
        store.dispose()


def _pair(item: tuple[str, object]) -> str:
    """A key and its value in TOML; tables are inline."""
    key, value = item
    if isinstance(value, dict):
        return f"{key} = {{ {', '.join(_pair(inner) for inner in value.items())} }}"
    return f"{key} = {json.dumps(value)}"
