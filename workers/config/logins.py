"""How clouds are logged in to, as lamplighter.toml says it: `[clouds.NAME.source]`."""

from pathlib import Path

from workers.config import clouds_entry
from workers.config.types import Table


def _one_of(field: str, file: Path | None, command: tuple[str, ...]) -> None:
    if (file is None) == (not command):
        raise ValueError(f"give either {field}_file or {field}_command")


class PasswordSource(Table, frozen=True, tag_field="type", tag="password"):
    """Keystone user and password.

    Here and below, a secret comes from a file of our own (or of systemd's:
    "$CREDENTIALS_DIRECTORY/name"), or is what a command prints: its words, run by no shell.
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
    """Keystone application credential."""

    id: str
    secret_file: Path | None = None
    secret_command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("secret", self.secret_file, self.secret_command)


class _FederatedSource(Table, frozen=True):
    """An OpenID Connect login, then Keystone's federated one; by default as at EGI.

    Attributes:
        token_endpoint: the login provider's.
        scope: what to ask for, word for word; by default EGI's scopes with `entitlements`.
        entitlements: the only ones that the access token shall carry; by default all.
    """

    token_endpoint: str
    scope: str | None = None
    entitlements: tuple[str, ...] = ()
    identity_provider: str = "egi.eu"
    protocol: str = "openid"

    @property
    def full_scope(self) -> str:
        """What to ask for; entitlements by the claim's old name and by its new one."""
        if self.scope is not None:
            return self.scope
        claims = ("eduperson_entitlement", "entitlements")
        narrowed = [f"{claim}:{value}" for value in self.entitlements for claim in claims]
        return " ".join(["openid email profile voperson_id", *(narrowed or claims)])


class RefreshTokenSource(_FederatedSource, frozen=True, tag_field="type", tag="oidc_refresh_token"):
    """The refresh token of a public client, which has no secret; the provider may rotate it."""

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
    """A service account: an OIDC client with a secret, in its own name."""

    client_id: str
    client_secret_file: Path | None = None
    client_secret_command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("client_secret", self.client_secret_file, self.client_secret_command)


class CloudsYamlSource(Table, frozen=True, tag_field="type", tag="clouds_yaml"):
    """An entry of OpenStack's clouds.yaml, read anew for each login; made of `clouds_yaml`.

    Attributes:
        file: the clouds.yaml.
        entry: its name there.
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


Source = (
    PasswordSource
    | ApplicationCredentialSource
    | RefreshTokenSource
    | ClientCredentialsSource
    | CloudsYamlSource
)
