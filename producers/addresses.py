"""Whether an address may be used: without encryption only on this host, and never with a secret. Pure."""

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qs, urlsplit

_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")
# Names of fields that are secrets, such as sslpassword, oauth_client_secret, access_token, api_key.
_SECRET = re.compile(
    r"passw|passcode|pwd|secret|token|signature|credential|scram_|api_?key|(?:^|_)(?:key|sig|auth|code)$",
    re.IGNORECASE,
)
_ODD = re.compile(r"[\\\s\x00-\x20\x7f]")
_NO_URL = "is not a URL: correct its host or its port"
_PLAIN = {"amqp": "amqps", "http": "https"}


def is_loopback(host: str | None) -> bool:
    """Whether a host is this host, by name or address."""
    return _LOOPBACK.fullmatch((host or "").lower()) is not None


def address_problem(url: str, *, insecure: bool, instead: str, user: bool = False) -> str | None:
    """Why a URL may not be used, with the remedy; it quotes neither user nor password.

    Args:
        url: of a service.
        insecure: whether the configuration allows a connection without encryption by name.
        instead: where a secret belongs.
        user: whether it may name a user. Elsewhere, a user alone is often a token.
    """
    try:
        parts = split_url(url)
        host = parts.hostname
        name, password = parts.username, parts.password
    except ValueError:
        return _NO_URL
    if not host:
        return "names no host: write it after ://"
    if password is not None or (name and not user) or has_secret_field(parts.query):
        what = "a password" if user else "a user, a password or a token"
        return f"must not contain {what}, which other users may read here: {instead}"
    if not insecure:
        return plaintext_problem(parts.scheme, host)
    return None


def split_url(url: str) -> SplitResult:
    r"""The parts of a URL.

    Raises:
        ValueError: it is not an address; or libraries disagree on its host, as on that of http://a\@b. The text quotes
            nothing of it.
    """
    if _ODD.search(url):
        raise ValueError("url may hold neither spaces nor backslashes")
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:  # its text can quote a part of a password, read as a port
        has_port = False
    if not has_port:
        raise ValueError(f"url {_NO_URL}")
    return parts


def has_secret_field(query: str) -> bool:
    """Whether the query of a URL has a field that is a secret, by its name."""
    return any(map(_SECRET.search, parse_qs(query, keep_blank_values=True)))


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


def database_problem(url: str, *, insecure: bool, environ: Mapping[str, str]) -> str | None:
    """Why a SQLAlchemy URL may not be used, with the remedy; it quotes nothing of the URL.

    libpq takes its parameters from the URL's query too, then from a service, then from the
    environment (postgresql.org/docs/current/libpq-connect.html).
    """
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        _ = parts.port  # a number, if there is one
        host, password = parts.hostname, parts.password
    except ValueError:
        return _NO_URL
    if not parts.scheme.startswith("postgresql"):
        return None
    if password is not None or has_secret_field(parts.query):
        return (
            "must not contain a password, which other users may read here: write it into the file "
            "of $PGPASSFILE or $PGSERVICEFILE"
        )
    service = "service" in query or bool(environ.get("PGSERVICE"))
    outside = {} if service else environ  # a service counts before the environment
    modes = set(query.get("sslmode", []) or [outside.get("PGSSLMODE", "")])
    hosts = [*([host] if host else []), *query.get("host", [])] or [outside.get("PGHOST", "")]
    addresses = query.get("hostaddr", []) or [outside.get("PGHOSTADDR", "")]
    here = all(_is_here(one) for many in (*hosts, *addresses) for one in many.split(","))
    # a service may name any host that is not named already, and any address
    named = not service or ("hostaddr" in query and here)
    if insecure or modes <= {"verify-full", "verify-ca"} or (here and named):
        return None
    return (
        "does not verify the database's certificate: add sslmode=verify-full (and sslrootcert), or"
        " insecure = true in this table"
    )


def _is_here(host: str) -> bool:
    """Whether a host of libpq is on this host: a socket, also by default, or a loopback address."""
    return not host or host.startswith(("/", "@")) or is_loopback(host)
