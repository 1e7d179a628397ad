"""The body of a login at Keystone, and the check of its secrets."""

import hmac

import msgspec

from tests.testbed.simcloud import credentials


class Domain(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None

    def is_default(self) -> bool:
        return self.id == credentials.DOMAIN_ID or self.name == credentials.DOMAIN_NAME


class User(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None
    domain: Domain | None = None
    password: str = ""

    def known(self) -> str | None:
        """The user's name, if these are the name or id and the password of one."""
        for name, user_id in credentials.USERS.items():
            named = self.name == name and self.domain is not None and self.domain.is_default()
            if (named or self.id == user_id) and _same(self.password, credentials.PASSWORD):
                return name
        return None


class PasswordMethod(msgspec.Struct, frozen=True):
    user: User


class ApplicationCredential(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None
    user: User | None = None
    secret: str = ""

    def is_known(self) -> bool:
        """Whether this is the only application credential, with its secret."""
        by_name = self.name == credentials.APPLICATION_CREDENTIAL_NAME and self.user is not None
        known = self.id == credentials.APPLICATION_CREDENTIAL_ID or by_name
        return known and _same(self.secret, credentials.APPLICATION_CREDENTIAL_SECRET)


class TokenMethod(msgspec.Struct, frozen=True):
    id: str


class Identity(msgspec.Struct, frozen=True):
    methods: list[str]
    password: PasswordMethod | None = None
    application_credential: ApplicationCredential | None = None
    token: TokenMethod | None = None


class Project(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None
    domain: Domain | None = None


class Scope(msgspec.Struct, frozen=True):
    project: Project | None = None


class Auth(msgspec.Struct, frozen=True):
    identity: Identity
    scope: Scope | None = None


class AuthRequest(msgspec.Struct, frozen=True):
    auth: Auth


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())
