"""Makes the source of a cloud's tokens, and defines the logins at Keystone alone."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from workers.config.clouds_yaml import entry_identity
from workers.config.groups import CloudSettings
from workers.config.logins import (
    ApplicationCredentialSource,
    ClientCredentialsSource,
    CloudsYamlSource,
    PasswordSource,
    RefreshTokenSource,
)
from workers.process.recent_secrets import RecentSecrets
from workers.tokens.credential import credential, entry_errors
from workers.tokens.federated import RefreshTokenLogin, ServiceAccountLogin
from workers.tokens.keystone import Keystone
from workers.tokens.revocations import RevocableSecret, Revocations
from workers.tokens.scoped import ScopedToken
from workers.tokens.source import Source
from workers.tokens.transport import Http
from workers.tokens.vault import Vault

Identity = Mapping[str, Any]


class KeystoneLogin(Source):
    """A login with a credential of Keystone itself.

    `identity` makes the request's `identity` from the secret; `remedy` is for a refused login.
    """

    def __init__(
        self,
        secret: RevocableSecret,
        keystone: Keystone,
        identity: Callable[[str], Identity],
        remedy: str,
    ) -> None:
        super().__init__(secret, keystone)
        self._identity = identity
        self._remedy = remedy

    def fetch(self) -> ScopedToken:
        """Log in; errors as in Source."""
        remedy = f"{self._remedy}; the secret is read from {self._secret.place}"
        return self._keystone.login(self._identity(self._secret.read()), remedy)


def make_source(
    cloud: CloudSettings, vault: Callable[[], Vault], revocations: Revocations
) -> Source:
    """The source that the configuration defines for a cloud.

    `vault` is called by sources with rotating tokens alone, with the first login; a ConfigError that
    it raises is one of this cloud.
    """
    http = Http(cloud.ca_file, insecure=cloud.insecure)
    keystone, source = Keystone(cloud, http), cloud.source
    secret = RevocableSecret(credential(source), revocations, http.secrets)
    match source:
        case PasswordSource():
            remedy = f"check the password of {source.username}, project and user_domain"
            return KeystoneLogin(secret, keystone, partial(_password, source), remedy)
        case ApplicationCredentialSource():
            remedy = "create another application credential; replace its id here and its secret"
            return KeystoneLogin(secret, keystone, partial(_application_credential, source), remedy)
        case CloudsYamlSource():
            remedy = "replace the credential by one that Keystone accepts"
            return KeystoneLogin(secret, keystone, partial(_entry, source), remedy)
        case ClientCredentialsSource():
            provider = provider_http(source, insecure=cloud.insecure, secrets=http.secrets)
            return ServiceAccountLogin(source, secret, keystone, provider)
        case RefreshTokenSource():
            provider = provider_http(source, insecure=cloud.insecure, secrets=http.secrets)
            return RefreshTokenLogin(source, secret, keystone, provider, vault)


def provider_http(
    source: RefreshTokenSource | ClientCredentialsSource,
    *,
    insecure: bool,
    secrets: RecentSecrets | None = None,
) -> Http:
    """For requests to the login provider, whose authorities are not the cloud's."""
    setting = "ca_file of this cloud's source"
    return Http(source.ca_file, setting, insecure=insecure, secrets=secrets)


def _password(source: PasswordSource, secret: str) -> Identity:
    domain = {"name": source.user_domain}
    user = {"name": source.username, "domain": domain, "password": secret}
    return {"methods": ["password"], "password": {"user": user}}


def _application_credential(source: ApplicationCredentialSource, secret: str) -> Identity:
    method = "application_credential"
    return {"methods": [method], method: {"id": source.id, "secret": secret}}


def _entry(source: CloudsYamlSource, secret: str) -> Identity:
    with entry_errors(source.file):
        return entry_identity(source.reference, secret)
