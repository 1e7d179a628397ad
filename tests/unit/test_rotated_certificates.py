"""Certificates of broker connections that are replaced in their files count at the next connect."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from producers.amqp import ConnectionParameters
from producers.broker_settings import BrokerSettings
from tests.testbed.certificates import certificate, tls_with
from workers.broker.blocking import blocking_channel
from workers.errors import BrokerAwayError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def tls_server(pem: Path, clients: Path, seen: list[str]) -> Iterator[int]:
    """A server that ends each connection after the handshake; `seen` holds the clients' names."""
    context = tls_with(pem)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(clients)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as one:
                    held = x509.load_der_x509_certificate(one.getpeercert(binary_form=True) or b"")
                    seen.extend(
                        str(a.value)
                        for a in held.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
                    )

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def problem_of(parameters: ConnectionParameters) -> str:
    with pytest.raises(BrokerAwayError) as caught, blocking_channel(parameters):
        pass
    return str(caught.value)


def test_rotated_certificates_and_authorities_are_used_at_the_next_connect(tmp_path: Path) -> None:
    """One ConnectionParameters, as a worker keeps it; only its files change."""
    old, new, server = (certificate(tmp_path, name) for name in ("old", "new", "server"))
    clients = tmp_path / "clients.pem"
    clients.write_bytes(old.read_bytes() + new.read_bytes())
    own, authority = tmp_path / "own.pem", tmp_path / "authority.pem"
    own.touch(mode=0o600)
    own.write_bytes(old.read_bytes())
    authority.write_bytes(old.read_bytes())  # not the server's
    seen: list[str] = []
    with tls_server(server, clients, seen) as port:
        url = f"amqps://me:x@127.0.0.1:{port}/v"
        parameters = ConnectionParameters(BrokerSettings((url,), None, authority, own, own), "test")
        assert "the certificate is not trusted" in problem_of(parameters)
        assert seen == []
        authority.write_bytes(server.read_bytes())
        problem_of(parameters)
        own.write_bytes(new.read_bytes())
        problem_of(parameters)
    assert seen == ["old", "new"]
