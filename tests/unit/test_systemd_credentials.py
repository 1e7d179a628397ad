"""Every secret and key can be a credential of systemd: $CREDENTIALS_DIRECTORY is in its path."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request

from ops.console.auth import Authenticator
from ops.console.operators import digest, read_operators
from ops.site.management import ManagementApi
from producers.settings import ConfigError
from tests.testbed.certificates import certificate
from tests.testbed.receiver import Receiver
from workers.audit.signing import load_signer
from workers.config.settings import Settings, load
from workers.notify.http import WebhookClient
from workers.notify.webhook_request import WebhookRequest
from workers.tokens.credential import credential
from workers.tokens.vault_key import load_keys, new_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from workers.config.logins import Source

# openstacksdk itself uses what it deprecates
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
SECRET = "the-secret-of-a-unit"
CONFIG = """cluster = "c"
[broker]
url = "amqps://me@127.0.0.1/v"
password_file = "$CREDENTIALS_DIRECTORY/secret"
cert_file = "$CREDENTIALS_DIRECTORY/cert"
key_file = "$CREDENTIALS_DIRECTORY/key"
management_url = "http://127.0.0.1:1"
[audit]
key_file = "$CREDENTIALS_DIRECTORY/audit.key"
[tokens]
key_file = "$CREDENTIALS_DIRECTORY/token.key"
[[notify.webhook]]
name = "a"
url_file = "$CREDENTIALS_DIRECTORY/address"
secret_file = "$CREDENTIALS_DIRECTORY/signing"
events = ["failed"]
[console]
operators_file = "$CREDENTIALS_DIRECTORY/operators"
[console.proxy]
address = "127.0.0.1"
header = "X-User"
secret_file = "$CREDENTIALS_DIRECTORY/secret"
[clouds.entry]
clouds_yaml = "$CREDENTIALS_DIRECTORY/clouds.yaml"
[clouds.password]
auth_url = "https://k/v3"
project_id = "p"
source = { type = "password", username = "u", password_file = "$CREDENTIALS_DIRECTORY/secret" }
[clouds.application]
auth_url = "https://k/v3"
source = { type = "application_credential", id = "i", secret_file = "$CREDENTIALS_DIRECTORY/secret" }
[clouds.client]
auth_url = "https://k/v3"
project_id = "p"
[clouds.client.source]
type = "oidc_client_credentials"
client_id = "c"
token_endpoint = "https://p/token"
client_secret_file = "$CREDENTIALS_DIRECTORY/secret"
[clouds.refresh]
auth_url = "https://k/v3"
project_id = "p"
[clouds.refresh.source]
type = "oidc_refresh_token"
token_endpoint = "https://p/token"
refresh_token_file = "$CREDENTIALS_DIRECTORY/secret"
"""
CLOUDS = """clouds:
  entry:
    auth_type: password
    auth: {auth_url: "https://k/v3", username: u, user_domain_name: D, project_id: p}
"""
SECURE = f"clouds: {{entry: {{auth: {{password: {SECRET}}}}}}}\n"


@pytest.fixture(params=[0o400, 0o440], ids=["of its user", "of root, with an ACL for its user"])
def credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """The folder of credentials, as systemd makes it for a unit."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    signing = base64.b64encode(b"s" * 32).decode()
    for name, content in {
        "secret": SECRET.encode() + b"\n",
        "cert": (pem := certificate(tmp_path).read_bytes()),
        "key": pem,
        "audit.key": key,
        "token.key": new_key(),
        "address": b"unused",
        "signing": f"whsec_{signing}".encode(),
        "operators": f"ada sha256:{digest(SECRET)}\n".encode(),
        "clouds.yaml": CLOUDS.encode(),
        "secure.yaml": SECURE.encode(),
    }.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(request.param)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


@pytest.fixture
def settings(credentials: Path, tmp_path: Path) -> Settings:
    assert credentials.exists()
    path = tmp_path / "lamplighter.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return load(path)


def test_the_keys_of_the_audit_and_of_the_vault_are_loaded(
    settings: Settings, credentials: Path
) -> None:
    before = sorted(credentials.iterdir())
    assert load_signer(settings.audit.key_file).key_id
    (key,) = load_keys(settings.tokens.key_file)
    assert len(key) == 32
    assert sorted(credentials.iterdir()) == before, "nothing is created there"


def test_each_login_reads_its_secret(settings: Settings) -> None:
    assert len(settings.clouds) == 5
    for name, cloud in settings.clouds.items():
        source: Source = cloud.source
        assert credential(source).read() == SECRET, name
        assert credential(source).fingerprint() == credential(source).fingerprint()


def test_a_webhook_reads_its_address_and_its_secret(settings: Settings, credentials: Path) -> None:
    with Receiver() as receiver:
        address = credentials / "address"
        mode = address.stat().st_mode
        address.chmod(0o600)
        address.write_text(f"{receiver.url}/T/secret-path")
        address.chmod(mode)
        (webhook,) = settings.webhooks
        client = WebhookClient(webhook)
        assert client.send(WebhookRequest({}, b"{}"), "id").status == 200
        client.close()
        (got,) = receiver.got
    assert got.path == "/T/secret-path"
    assert got.headers["webhook-signature"].startswith("v1,")


def test_the_console_reads_its_operators_and_its_proxys_secret(settings: Settings) -> None:
    assert settings.console.operators_file is not None
    assert read_operators(settings.console.operators_file) == {digest(SECRET): "ada"}
    authenticator = Authenticator(settings.console, None, local=True)

    def user(secret: str) -> object:
        headers = [(b"x-user", b"ada"), (b"x-lamplighter-proxy", secret.encode())]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
        return authenticator.user(Request(scope | {"client": ("127.0.0.1", 1)}))

    assert user(SECRET) is not None
    assert user("another") is None


def test_the_broker_gets_password_and_certificate(settings: Settings, credentials: Path) -> None:
    assert SECRET in settings.broker.full_urls()[0]
    with ManagementApi(settings.broker, settings.management_urls) as api:
        assert api._session.cert == (str(credentials / "cert"), str(credentials / "key"))


def test_outside_its_unit_each_missing_credential_is_a_named_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert settings.console.operators_file is not None
    file = settings.console.operators_file
    reads: tuple[Callable[[], object], ...] = (
        lambda: load_signer(settings.audit.key_file),
        lambda: load_keys(settings.tokens.key_file),
        lambda: read_operators(file),
        settings.broker.full_urls,
        lambda: load(settings.path),
    )
    for read in reads:
        with pytest.raises(ConfigError, match=r"systemd has passed no credentials"):
            read()
