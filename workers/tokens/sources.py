"""Where a cloud's tokens come from: one small seam, a class for each way to log in."""

from collections.abc import Callable
from typing import Protocol

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


class Source(Protocol):
    """Gets scoped tokens for one cloud; `fetch` and `upkeep` are used by one thread at a time."""

    def fetch(self) -> ScopedToken:
        """A new token, by calls that take seconds at most.

        Raises:
            SourceError: there is none.
        """

    def fingerprint(self) -> str:
        """Changes when the credential does; cheap, for any thread."""

    def upkeep(self, now: int) -> Upkeep:
        """What is due at `now` (ns since the epoch) though nobody asks for a token.

        Raises:
            SourceError: it cannot be known now.
        """


class _Keystones:
    """What Keystone's own credentials have in common."""

    def __init__(self, secret: Secret, keystone: Keystone) -> None:
        self._secret = secret
        self._keystone = keystone

    def fingerprint(self) -> str:
        """The secret's."""
        return self._secret.fingerprint()

    def upkeep(self, now: int) -> Upkeep:  # noqa: ARG002 - the protocol's
        """Nothing is ever due."""
        return Upkeep()


class Password(_Keystones):
    """Keystone user and password."""

    def __init__(self, settings: PasswordSource, keystone: Keystone) -> None:
        super().__init__(credential(settings), keystone)
        self._settings = settings

    def fetch(self) -> ScopedToken:
        """Log in.

        Raises:
            SourceError: there is no token.
        """
        user = {
            "name": self._settings.username,
            "domain": {"name": self._settings.user_domain},
            "password": self._secret.read(),
        }
        return self._keystone.login(
            {"methods": ["password"], "password": {"user": user}},
            remedy=f"put the password of {self._settings.username} where it is read from,"
            f" {self._secret.place}, and check project and user_domain",
        )


class ApplicationCredential(_Keystones):
    """Keystone application credential."""

    def __init__(self, settings: ApplicationCredentialSource, keystone: Keystone) -> None:
        super().__init__(credential(settings), keystone)
        self._settings = settings

    def fetch(self) -> ScopedToken:
        """Log in.

        Raises:
            SourceError: there is no token.
        """
        credential = {"id": self._settings.id, "secret": self._secret.read()}
        return self._keystone.login(
            {"methods": ["application_credential"], "application_credential": credential},
            remedy="make a new application credential, put its id into the configuration"
            f" and its secret where it is read from, {self._secret.place}",
        )


class CloudsYamlEntry(_Keystones):
    """An entry of OpenStack's clouds.yaml."""

    def __init__(self, settings: CloudsYamlSource, keystone: Keystone) -> None:
        super().__init__(credential(settings), keystone)
        self._settings = settings

    def fetch(self) -> ScopedToken:
        """Log in.

        Raises:
            SourceError: there is no token.
        """
        secret = self._secret.read()
        try:
            identity = entry_identity(self._settings.reference, secret)
        except ConfigError as error:
            raise SourceError(
                "credential_unusable",
                str(error),
                permanent=True,
                remedy=f"fix {self._settings.file}",
            ) from None
        return self._keystone.login(
            identity, remedy=f"put a credential that Keystone takes into {self._secret.place}"
        )


def make_source(cloud: CloudSettings, vault: Callable[[], Vault]) -> Source:
    """The source that the configuration names for this cloud.

    Raises:
        ConfigError: `vault` cannot be opened; only sources that rotate need it.
    """
    http = Http(cloud.ca_file)
    keystone = Keystone(cloud, http)
    source = cloud.source
    match source:
        case PasswordSource():
            return Password(source, keystone)
        case ApplicationCredentialSource():
            return ApplicationCredential(source, keystone)
        case CloudsYamlSource():
            return CloudsYamlEntry(source, keystone)
        case ClientCredentialsSource():
            return Federated(source, ServiceLogin(source, credential(source), http), keystone)
        case RefreshTokenSource():
            login = RefreshLogin(source, credential(source), http, vault())
            return Federated(source, login, keystone)
