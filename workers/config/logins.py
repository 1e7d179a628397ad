"""Defines the tables [clouds.NAME.source]: how to log in to a cloud."""

from pathlib import Path
from typing import ClassVar

from workers.config import clouds_entry
from workers.config.types import Table, Text, Word


class _SecretSource(Table, frozen=True):
    """A login whose secret is in `<prefix>_file`, or is printed by `<prefix>_command`.

    The file may be a credential of systemd ("$CREDENTIALS_DIRECTORY/name"); the command runs
    without a shell.
    """

    prefix: ClassVar[str]

    def __post_init__(self) -> None:
        file, command = self.secret
        if (file is None) == (not command):
            raise ValueError(f"give either {self.prefix}_file or {self.prefix}_command")

    @property
    def secret(self) -> tuple[Path | None, tuple[str, ...]]:
        """The file, or the command."""
        file, command = (getattr(self, f"{self.prefix}_{end}") for end in ("file", "command"))
        return file, command


class PasswordSource(_SecretSource, frozen=True, tag_field="type", tag="password"):
    """A Keystone user and password.

    Attributes:
        username: the user's name.
        user_domain: the name of the user's domain.
        password_file: holds the password; without it, give password_command.
        password_command: prints the password, instead of password_file.
    """

    prefix = "password"
    username: Text
    password_file: Path | None = None
    password_command: tuple[Word, ...] = ()
    user_domain: Text = "Default"


class ApplicationCredentialSource(
    _SecretSource, frozen=True, tag_field="type", tag="application_credential"
):
    """A Keystone application credential.

    Attributes:
        id: id of the application credential.
        secret_file: holds its secret; without it, give secret_command.
        secret_command: prints its secret, instead of secret_file.
    """

    prefix = "secret"
    id: Text
    secret_file: Path | None = None
    secret_command: tuple[Word, ...] = ()


class _FederatedSource(_SecretSource, frozen=True):
    """An OpenID Connect login, then a federated login at Keystone; the defaults are EGI's.

    Attributes:
        token_endpoint: address where the login provider gives tokens.
        scope: the scope to request; by default EGI's scopes with `entitlements`.
        entitlements: limits the access token to these; by default all.
        ca_file: the authorities that sign the provider's certificate; by default the system's.
        identity_provider, protocol: as the cloud's Keystone names the login provider.
    """

    token_endpoint: Text
    scope: Text | None = None
    entitlements: tuple[Text, ...] = ()
    ca_file: Path | None = None
    identity_provider: Text = "egi.eu"
    protocol: Text = "openid"

    @property
    def full_scope(self) -> str:
        """The scope to request; entitlements have an old and a new claim name."""
        if self.scope is not None:
            return self.scope
        claims = ("eduperson_entitlement", "entitlements")
        narrowed = [f"{claim}:{value}" for value in self.entitlements for claim in claims]
        return " ".join(["openid email profile voperson_id", *(narrowed or claims)])


class RefreshTokenSource(_FederatedSource, frozen=True, tag_field="type", tag="oidc_refresh_token"):
    """The refresh token of a public client (without a secret); the provider may rotate it.

    Attributes:
        client_id: id of the client that the refresh token was made for.
        refresh_token_file: holds the refresh token; without it, give refresh_token_command.
        refresh_token_command: prints the refresh token, instead of refresh_token_file.
    """

    prefix = "refresh_token"
    refresh_token_file: Path | None = None
    refresh_token_command: tuple[Word, ...] = ()
    client_id: Text = "token-portal"


class ClientCredentialsSource(
    _FederatedSource, frozen=True, kw_only=True, tag_field="type", tag="oidc_client_credentials"
):
    """A service account: an OIDC client that logs in with its own secret.

    Attributes:
        client_id: id of the client.
        client_secret_file: holds its secret; without it, give client_secret_command.
        client_secret_command: prints its secret, instead of client_secret_file.
    """

    prefix = "client_secret"
    client_id: Text
    client_secret_file: Path | None = None
    client_secret_command: tuple[Word, ...] = ()


class CloudsYamlSource(Table, frozen=True, tag_field="type", tag="clouds_yaml"):
    """An entry of OpenStack's clouds.yaml, read again for each login; set by `clouds_yaml`.

    Attributes:
        file: clouds.yaml.
        entry: the name of the cloud there.
        kind: how it logs in.
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


_Federated = RefreshTokenSource | ClientCredentialsSource
Source = PasswordSource | ApplicationCredentialSource | _Federated | CloudsYamlSource
