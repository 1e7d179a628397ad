"""Whether an address may be used: without encryption only on this host, and never with a password. Pure."""

import re
from urllib.parse import parse_qs, urlsplit

_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")
_PLAIN = {"amqp": "amqps", "http": "https"}


def is_loopback(host: str | None) -> bool:
    """Whether a host is this host, by name or address."""
    return _LOOPBACK.fullmatch((host or "").lower()) is not None


def address_problem(url: str, *, insecure: bool, instead: str) -> str | None:
    """Why a URL may not be used, with the remedy; it quotes neither user nor password.

    Args:
        url: of a service.
        insecure: whether the configuration allows a connection without encryption by name.
        instead: where a password belongs.
    """
    try:
        parts = urlsplit(url)
        host, password = parts.hostname, parts.password
    except ValueError:  # its text can quote a part of the password, read as a port
        return "is not a URL"
    if password is not None:
        return f"must not contain a password, which other users may read here: {instead}"
    if not insecure:
        return plaintext_problem(parts.scheme, host)
    return None


def plaintext_problem(scheme: str, host: str | None) -> str | None:
    """Why a connection of this scheme to a host is not safe on its way; None if it is."""
    safe = _PLAIN.get(scheme.lower())
    if safe is None or is_loopback(host):
        return None
    return (
        f"{scheme}:// sends secrets unencrypted to {host}: write {safe}://, or insecure = true in"
        " this table"
    )


def parameters_problem(url: str) -> str | None:
    """Why a URL may have nothing after its path, with the remedy; it quotes nothing of the URL.

    A client reads parameters there that replace settings of ours: pika's ssl_options switch off the
    verification of certificates.
    """
    if "?" not in url and "#" not in url:
        return None
    return "may have no parameters: remove ? or #, and what follows it; ca_file names authorities for TLS"


def database_problem(url: str, *, insecure: bool) -> str | None:
    """Why a SQLAlchemy URL may not be used, with the remedy; it quotes nothing of the URL.

    libpq's own parameters may be in the query (postgresql.org/docs/current/libpq-connect.html).
    """
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        hosts = [parts.hostname or "", *query.get("host", []), *query.get("hostaddr", [])]
        password = parts.password is not None or "password" in query
        _ = parts.port  # a number, if there is one
    except ValueError:
        return "is not a URL"
    if not parts.scheme.startswith("postgresql"):
        return None
    if password:
        return (
            "must not contain a password, which other users may read here: write it into the file "
            "of $PGPASSFILE or $PGSERVICEFILE"
        )
    here = all(not host or host.startswith(("/", "@")) or is_loopback(host) for host in hosts)
    verified = set(query.get("sslmode", [""])) <= {"verify-full", "verify-ca"}
    if insecure or verified or (here and (any(hosts) or "service" not in query)):
        return None
    return (
        "does not verify the database's certificate: add sslmode=verify-full (and sslrootcert), or"
        " insecure = true in this table"
    )
