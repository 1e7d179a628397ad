"""Where a cloud's tokens come from: one small seam, a class for each way to log in."""

from typing import Protocol

from workers.settings import ApplicationCredentialSource, CloudSettings, PasswordSource
from workers.tokens.keystone import Keystone
from workers.tokens.scoped import ScopedToken
from workers.tokens.secretfile import fingerprint, read_secret
from workers.tokens.transport import Http


class Source(Protocol):
    """Gets scoped tokens for one cloud; used by one thread at a time."""

    def fetch(self) -> ScopedToken:
        """A new token, by network calls that take seconds at most.

        Raises:
            SourceError: there is none.
        """

    def fingerprint(self) -> str:
        """Changes when the credential does; may be called by any thread."""


class Password:
    """Keystone user and password."""

    def __init__(self, settings: PasswordSource, keystone: Keystone) -> None:
        self._settings = settings
        self._keystone = keystone

    def fetch(self) -> ScopedToken:
        """Log in."""
        settings = self._settings
        user = {
            "name": settings.username,
            "domain": {"name": settings.user_domain},
            "password": read_secret(settings.password_file),
        }
        return self._keystone.login(
            {"methods": ["password"], "password": {"user": user}},
            remedy=f"put the password of {settings.username} into {settings.password_file},"
            " and check project and user_domain",
        )

    def fingerprint(self) -> str:
        """Of the password file."""
        return fingerprint(self._settings.password_file)


class ApplicationCredential:
    """Keystone application credential."""

    def __init__(self, settings: ApplicationCredentialSource, keystone: Keystone) -> None:
        self._settings = settings
        self._keystone = keystone

    def fetch(self) -> ScopedToken:
        """Log in."""
        settings = self._settings
        credential = {"id": settings.id, "secret": read_secret(settings.secret_file)}
        return self._keystone.login(
            {"methods": ["application_credential"], "application_credential": credential},
            remedy="make a new application credential, put its id into the configuration"
            f" and its secret into {settings.secret_file}",
        )

    def fingerprint(self) -> str:
        """Of the secret's file."""
        return fingerprint(self._settings.secret_file)


def make_source(cloud: CloudSettings) -> Source:
    """The source that the configuration names for this cloud."""
    keystone = Keystone(cloud, Http(cloud.ca_file))
    match cloud.source:
        case PasswordSource():
            return Password(cloud.source, keystone)
        case ApplicationCredentialSource():
            return ApplicationCredential(cloud.source, keystone)
        case _:
            raise NotImplementedError
