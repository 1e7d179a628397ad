"""Roles log in with certificates (EXTERNAL) on a RabbitMQ with TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from producers.amqp import connection_parameters
from producers.settings import ConfigError, hook_settings
from schemas.commands import Kind
from schemas.roles import Role
from tests.testbed.broker import PrivateBroker
from tests.testbed.installation import Installation
from tests.testbed.messages import command
from tests.testbed.ports import Ports
from workers.broker import topology
from workers.broker.blocking import blocking_channel

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.x509 import Certificate

Key = ec.EllipticCurvePrivateKey


def certified(name: str, issuer: tuple[Certificate, Key] | None = None) -> tuple[Certificate, Key]:
    """A certificate and its key, signed by the issuer, or by itself as an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signing = issuer[1] if issuer else key
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        # Python 3.13 refuses certificates without these
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
    )
    if issuer is None:
        signs = x509.KeyUsage(
            key_cert_sign=True, crl_sign=True, digital_signature=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        made = made.add_extension(signs, critical=True)
    return made.sign(signing, hashes.SHA256()), key


def write(folder: Path, name: str, made: tuple[Certificate, Key]) -> None:
    """Write NAME.crt and NAME.key as PEM, for their owner only."""
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    parts = {"crt": made[0].public_bytes(pem), "key": made[1].private_bytes(pem, *plain)}
    for suffix, content in parts.items():
        path = folder / f"{name}.{suffix}"
        path.touch(mode=0o600)
        path.write_bytes(content)


def test_a_role_logs_in_with_its_certificate_and_is_confined_by_it(run_dir: Path) -> None:
    """No password anywhere; the hook's certificate publishes a resume, stamped, and no retirement."""
    folder = run_dir / "site"
    certificates = folder / "broker"
    certificates.mkdir(parents=True)
    authority = certified("test authority")
    write(folder, "ca", authority)
    write(folder, "server", certified("localhost", authority))
    for role in (Role.HOOK, Role.SETUP, Role.POWER):
        write(certificates, role, certified(f"lamplighter-{role}", authority))
    with Ports() as ports:
        tls = ports.take()
        options = {
            "listeners.ssl.1": f"127.0.0.1:{tls}",
            "ssl_options.cacertfile": str(folder / "ca.crt"),
            "ssl_options.certfile": str(folder / "server.crt"),
            "ssl_options.keyfile": str(folder / "server.key"),
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "true",
            "ssl_cert_login_from": "common_name",
            "auth_mechanisms.1": "EXTERNAL",
            "auth_mechanisms.2": "PLAIN",
        }
        with PrivateBroker(
            run_dir / "b", options, plugins=("rabbitmq_auth_mechanism_ssl",)
        ) as broker:
            broker.create_vhost("site")
            site = Installation(
                folder,
                f"amqps://127.0.0.1:{tls}/site",
                broker=f'ca_file = "ca.crt"\nmanagement_url = "{broker.management_url}"\n'
                'users = { login = "certificate" }',
            )
            words = ("broker", "users", "--apply", "--admin", broker.admin.name)
            applied = site.lamplighter(*words, typed=broker.admin.password)
            assert applied.code == 0, applied.err
            assert not list(certificates.glob("*.password"))
            # setup has its certificate, and nothing else
            assert site.lamplighter("topology", "apply").code == 0
            site.make_hook_folders()
            hook = hook_settings(site.config)
            parameters = connection_parameters(hook.broker, "hook")
            assert parameters.addresses()[0].credentials.username == "lamplighter-hook"
            with blocking_channel(parameters) as channel:
                channel.confirm_delivery()
                asked = command(kind=Kind.RESUME)
                body = asked.to_envelope().to_json()
                channel.basic_publish(topology.COMMANDS, asked.kind.routing_key, body)
            power = hook_settings(site.config, Role.POWER)
            with blocking_channel(connection_parameters(power.broker, "power")) as channel:
                assert channel.basic_get(topology.RESUME_QUEUE)[2] == body
            (certificates / "hook.key").unlink()
            with pytest.raises(ConfigError, match=r"broker\.users: .*hook\.key"):
                connection_parameters(hook.broker, "hook")
