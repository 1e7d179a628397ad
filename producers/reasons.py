"""Why a connection failed, in words with the remedy: names, ports, TLS, certificates, logins. Pure.

Libraries nest the error that says why: pika, requests, urllib3 and keystoneauth1 each in their own way.
"""

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

_TLS = {"http": "https", "amqp": "amqps"}
_PLAIN = {tls: plain for plain, tls in _TLS.items()}
# A TLS server ends the connection of a client that speaks plain text.
_CUT_OFF = {"IncompatibleProtocolError", "BadStatusLine", "RemoteDisconnected"}
_REASONS = {
    "WRONG_VERSION_NUMBER",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
}
_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_..., openssl-verification-options(1)


class AuthoritiesError(Exception):
    """A file of certificate authorities cannot be used; the text names it and the remedy."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those inside it, the outermost first."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if any(one is other for other in seen):
            continue
        seen.append(one)
        yield one
        inner = (
            *(getattr(one, "exceptions", None) or ()),
            *(getattr(one, name, None) for name in ("exception", "reason")),
            *one.args,
            one.__cause__,
            one.__context__,
        )
        waiting += [each for each in inner if isinstance(each, BaseException)]


def connection_reason(error: BaseException, url: str, field: str, ca_field: str) -> str | None:
    """Why no connection was made; None if the error is of another kind.

    Args:
        error: as the library raised it.
        url: the address; only its scheme and host are shown.
        field: the setting with the address, for the remedy.
        ca_field: the setting with the certificate authority.
    """
    parts = urlsplit(url)
    for one in causes(error):
        if isinstance(one, AuthoritiesError):
            return f"{ca_field}: {one}"
        if isinstance(one, ssl.SSLCertVerificationError):
            return _certificate(one, parts.hostname or "", field, ca_field)
        if isinstance(one, ssl.SSLError) and one.reason in _REASONS:
            plain = _PLAIN.get(parts.scheme, "the scheme without TLS")
            return f"the port speaks no TLS: write {plain}:// or the port for TLS in {field}"
        if isinstance(one, ssl.SSLEOFError):
            return f"the port ends the TLS handshake: check host and port in {field}"
        if isinstance(one, socket.gaierror):
            return f"host {parts.hostname} is unknown: check {field} and this host's DNS"
        cut_off = type(one).__name__ in _CUT_OFF or isinstance(one, ConnectionResetError)
        if cut_off and parts.scheme in _TLS:
            tls = _TLS[parts.scheme]
            return f"the port ends the connection at once: if it expects TLS, write {tls}:// in {field}"
    return None


def _certificate(error: ssl.SSLCertVerificationError, host: str, field: str, ca_field: str) -> str:
    problem = error.verify_message or "it is not trusted"
    if "mismatch" in problem.lower():
        return f"the certificate is not for {host}: write the certificate's own name in {field}"
    if error.verify_code in {_EXPIRED, _NOT_YET}:
        return f"{problem}: the server needs a new certificate; check this host's time too"
    return f"the certificate is not trusted ({problem}): name the authority that signed it in {ca_field}"
