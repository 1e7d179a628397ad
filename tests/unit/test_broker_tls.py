"""No address switches off what we verify of the broker."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from pika import URLParameters

from ops.site.management import ManagementApi
from producers.amqp import ConnectionParameters
from producers.broker_settings import BrokerSettings
from producers.settings import ConfigError
from tests.testbed.certificates import certificate
from workers.config.settings import load

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITIES = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
UNVERIFIED = f"ssl_options={{'protocol':2,'ca_certs':'{AUTHORITIES}'}}"
_SETTER = "_set_url_"
PIKA = [name.removeprefix(_SETTER) for name in dir(URLParameters) if name.startswith(_SETTER)]


@pytest.mark.parametrize("mark", ["?", "#"])
@pytest.mark.parametrize("parameter", [UNVERIFIED, *(f"{name}=s3cr3t" for name in PIKA)])
@pytest.mark.parametrize(
    ("field", "good", "lines"),
    [
        ("url", "amqps://me@h/v", 'url = "{bad}"'),
        ("urls", "amqps://me@h/v", 'urls = ["amqps://me@g/v", "{bad}"]'),
        ("management_url", "https://h", 'url = "amqps://h/v"\nmanagement_url = "{bad}"'),
        ("management_urls", "https://h", 'url = "amqps://h/v"\nmanagement_urls = ["{bad}"]'),
    ],
)
def test_no_parameter_of_an_address_changes_how_we_connect(  # noqa: PLR0913, PLR0917 - a table
    tmp_path: Path, field: str, good: str, lines: str, mark: str, parameter: str
) -> None:
    """Pika reads ssl_options there, and then verifies no certificate."""
    path = tmp_path / "l.toml"
    text = lines.format(bad=f"{good}{mark}{parameter}")
    path.write_text(f'cluster = "c"\n[broker]\n{text}\n')
    with pytest.raises(ConfigError, match=rf"broker\.{field}: may have no parameters") as caught:
        load(path)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS is deprecated")  # pika's own context
@pytest.mark.parametrize("query", ["", f"?{UNVERIFIED}"])
@pytest.mark.parametrize("scheme", ["amqps", "AMQPS"])
def test_tls_to_the_broker_always_verifies_certificate_and_name(scheme: str, query: str) -> None:
    """Also with settings that no file was checked for."""
    broker = BrokerSettings((f"{scheme}://me:x@127.0.0.1/v{query}",))
    (address,) = ConnectionParameters(broker, "test").addresses()
    context = address.ssl_options.context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("form", ["DER", "pass phrase"])
def test_a_key_that_is_not_plain_pem_is_refused_by_name_and_no_terminal_is_asked(
    tmp_path: Path, form: str
) -> None:
    """A hook must not wait for a person; the key's bytes must not be part of an error."""
    pem, key_file = certificate(tmp_path), tmp_path / "key"
    key = serialization.load_pem_private_key(pem.read_bytes(), None)
    encoding = serialization.Encoding.DER if form == "DER" else serialization.Encoding.PEM
    locked = serialization.BestAvailableEncryption(b"pw")
    how = serialization.NoEncryption() if form == "DER" else locked
    key_file.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, how))
    key_file.chmod(0o600)
    broker = BrokerSettings(("amqps://me:x@127.0.0.1/v",), cert_file=pem, key_file=key_file)
    words = r"^broker\.cert_file: .*receiver\.pem and .*key: .* as PEM without a pass phrase"
    with pytest.raises(ConfigError, match=words):
        ConnectionParameters(broker, "test").addresses()
    with pytest.raises(ConfigError, match=words):
        ManagementApi(broker, ["https://127.0.0.1:1"])
