"""Defines where a cloud's tokens come from: a source for each kind of login."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from producers.settings import ConfigError
from workers.config.clouds_yaml import entry_identity
from workers.config.groups import CloudSettings
from workers.config.logins import (
    ApplicationCredentialSource,
    ClientCredentialsSource,
    CloudsYamlSource,
    PasswordSource,
    RefreshTokenSource,
)
from workers.tokens.credential import credential
from workers.tokens.errors import SourceError
from workers.tokens.federated import Federated, RefreshLogin, ServiceLogin
from workers.tokens.keystone import Keystone
from workers.tokens.scoped import ScopedToken
from workers.tokens.secret import Secret
from workers.tokens.transport import Http
from workers.tokens.upkeep import Upkeep
from workers.tokens.vault import Vault

Identity = Mapping[str, Any]


class Source(Protocol):
    """Gets scoped tokens for one cloud; `fetch` and `upkeep` are called by one thread at a time."""

    def fetch(self) -> ScopedToken:
        """Get a new token; takes a few seconds at most.

        Raises:
            SourceError: there is no token.
        """

    def fingerprint(self) -> str:
        """Changes with the credential; cheap, and safe in any thread."""

    def upkeep(self, now: int) -> Upkeep:
        """What is due at `now` (ns since the epoch) even if no worker requests a token.

        Raises:
            SourceError: this cannot be known now.
        """


class KeystoneLogin:
    """A login with a credential of Keystone itself.

    Args:
        keystone: the cloud's.
        secret: of the credential.
        identity: makes the request's `identity` from the secret.
        remedy: what to do if Keystone refuses the login.
    """

    def __init__(
        self,
        keystone: Keystone,
        secret: Secret,
        identity: Callable[[str], Identity],
        remedy: str,
    ) -> None:
        self._keystone = keystone
        self._secret = secret
        self._identity = identity
        self._remedy = remedy

    def fetch(self) -> ScopedToken:
        """Log in.

        Raises:
            SourceError: there is no token.
        """
        identity = self._identity(self._secret.read())
        return self._keystone.login(
            identity, f"{self._remedy}; the secret is read from {self._secret.place}"
        )

    def fingerprint(self) -> str:
        """The fingerprint of the secret."""
        return self._secret.fingerprint()

    def upkeep(self, now: int) -> Upkeep:  # noqa: ARG002 - the protocol's
        """Nothing is ever due."""
        return Upkeep()


def make_source(cloud: CloudSettings, vault: Callable[[], Vault]) -> Source:
    """The source that the configuration defines for a cloud.

    Raises:
        ConfigError: `vault` cannot be opened; only sources with rotating tokens need it.
    """
    http = Http(cloud.ca_file)
    keystone = Keystone(cloud, http)
    source, secret = cloud.source, credential(cloud.source)
    match source:
        case PasswordSource():
            remedy = f"check the password of {source.username}, project and user_domain"
            return KeystoneLogin(keystone, secret, partial(_password, source), remedy)
        case ApplicationCredentialSource():
            remedy = "create another application credential; replace its id here and its secret"
            return KeystoneLogin(keystone, secret, partial(_application_credential, source), remedy)
        case CloudsYamlSource():
            remedy = "replace the credential by one that Keystone accepts"
            return KeystoneLogin(keystone, secret, partial(_entry, source), remedy)
        case ClientCredentialsSource():
            return Federated(source, ServiceLogin(source, secret, http), keystone)
        case RefreshTokenSource():
            return Federated(source, RefreshLogin(source, secret, http, vault()), keystone)


def _password(source: PasswordSource, secret: str) -> Identity:
    domain = {"name": source.user_domain}
    user = {"name": source.username, "domain": domain, "password": secret}
    return {"methods": ["password"], "password": {"user": user}}


def _application_credential(source: ApplicationCredentialSource, secret: str) -> Identity:
    method = "application_credential"
    return {"methods": [method], method: {"id": source.id, "secret": secret}}


def _entry(source: CloudsYamlSource, secret: str) -> Identity:
    try:
        return entry_identity(source.reference, secret)
    except ConfigError as error:
        raise SourceError(
            "credential_unusable", str(error), permanent=True, remedy=f"fix {source.file}"
        ) from None
