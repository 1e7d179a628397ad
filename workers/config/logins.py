"""Defines the tables [clouds.NAME.source]: how to log in to a cloud."""

from pathlib import Path

from workers.config import clouds_entry
from workers.config.types import Table


def _one_of(field: str, file: Path | None, command: tuple[str, ...]) -> None:
    if (file is None) == (not command):
        raise ValueError(f"give either {field}_file or {field}_command")


class PasswordSource(Table, frozen=True, tag_field="type", tag="password"):
    """A Keystone user and password.

    Here and below, a secret is in a file (or in a credential of systemd:
    "$CREDENTIALS_DIRECTORY/name"), or is printed by a command, which runs without a shell.
    """

    username: str
    password_file: Path | None = None
    password_command: tuple[str, ...] = ()
    user_domain: str = "Default"

    def __post_init__(self) -> None:
        _one_of("password", self.password_file, self.password_command)


class ApplicationCredentialSource(
    Table, frozen=True, tag_field="type", tag="application_credential"
):
    """A Keystone application credential."""

    id: str
    secret_file: Path | None = None
    secret_command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("secret", self.secret_file, self.secret_command)


class _FederatedSource(Table, frozen=True):
    """An OpenID Connect login, then a federated login at Keystone; the defaults are EGI's.

    Attributes:
        token_endpoint: of the login provider.
        scope: the scope to request; by default EGI's scopes with `entitlements`.
        entitlements: limits the access token to these; by default all.
    """

    token_endpoint: str
    scope: str | None = None
    entitlements: tuple[str, ...] = ()
    identity_provider: str = "egi.eu"
    protocol: str = "openid"

    @property
    def full_scope(self) -> str:
        """The scope to request; entitlements have an old and a new claim name."""
        if self.scope is not None:
            return self.scope
        claims = ("eduperson_entitlement", "entitlements")
        narrowed = [f"{claim}:{value}" for value in self.entitlements for claim in claims]
        return " ".join(["openid email profile voperson_id", *(narrowed or claims)])


class RefreshTokenSource(_FederatedSource, frozen=True, tag_field="type", tag="oidc_refresh_token"):
    """The refresh token of a public client (without a secret); the provider may rotate it."""

    refresh_token_file: Path | None = None
    refresh_token_command: tuple[str, ...] = ()
    client_id: str = "token-portal"

    def __post_init__(self) -> None:
        _one_of("refresh_token", self.refresh_token_file, self.refresh_token_command)


class ClientCredentialsSource(
    _FederatedSource,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="oidc_client_credentials",
):
    """A service account: an OIDC client that logs in with its own secret."""

    client_id: str
    client_secret_file: Path | None = None
    client_secret_command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("client_secret", self.client_secret_file, self.client_secret_command)


class CloudsYamlSource(Table, frozen=True, tag_field="type", tag="clouds_yaml"):
    """An entry of OpenStack's clouds.yaml, read again for each login; set by `clouds_yaml`.

    Attributes:
        file: the clouds.yaml.
        entry: the name of the entry.
        kind: how the entry logs in.
        region: the one that lamplighter.toml chooses, if any.
    """

    file: Path
    entry: str
    kind: clouds_entry.Kind
    region: str | None = None

    @property
    def reference(self) -> clouds_entry.EntryRef:
        """The entry."""
        return clouds_entry.EntryRef(self.file, self.entry, self.region)


Source = (
    PasswordSource
    | ApplicationCredentialSource
    | RefreshTokenSource
    | ClientCredentialsSource
    | CloudsYamlSource
)
