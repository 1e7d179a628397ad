"""Answers of foreign services over HTTP: bounded in size and time, their JSON checked against a shape."""

import io
import math
import socket
import struct
import time
from functools import partial
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from producers.addresses import is_loopback
from producers.reasons import AuthoritiesError
from schemas.fields import printable_line
from workers.errors import LamplighterError
from workers.process.authorities import AuthorityFile, trusted
from workers.process.echoes import without_tokens
from workers.process.recent_secrets import RecentSecrets
from workers.process.redirects import followed

_Shape = TypeVar("_Shape")

MOST_BYTES = 32 * 2**20
_CHUNK = 2**16
# A cloud may repeat the token before the present one, too.
_TOKENS = 3
LONGEST_LINE = 500


class UnreadableError(LamplighterError):
    """An answer is not what the service's API says; the text names the field and quotes no value."""


def read_json(body: bytes, shape: type[_Shape]) -> _Shape:
    """The JSON in an answer, in the shape of a msgspec.Struct; unknown fields are ignored.

    Raises:
        UnreadableError: it is not JSON, or has another shape.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except RecursionError:
        raise UnreadableError("the answer is nested too deeply") from None
    except ValueError as error:  # those of msgspec and of Unicode
        raise UnreadableError(f"the answer cannot be read: {one_line(str(error))}") from None


def one_line(text: str) -> str:
    """Foreign text as one printable line, at a length that fits an event, without tokens."""
    # the most that can matter: one character in four is printed, at least
    return without_tokens(printable_line(text[: 4 * LONGEST_LINE]))[:LONGEST_LINE]


def bounded_session(  # noqa: PLR0913 - each is an independent bound
    ca_file: Path | None,
    seconds: float,
    *,
    most: int = MOST_BYTES,
    connections: int = 1,
    cut: bool = False,
    until: float = math.inf,
) -> requests.Session:
    """A session whose answers are read whole before they are returned, within bounds.

    A redirect to another place is an answer without a Location, which nothing follows: headers and
    body of a request carry secrets.

    Args:
        ca_file: as in `trusted`; a request for which it cannot be used is not made, and its error is
            caused by an AuthoritiesError.
        seconds: the time to connect, and the time for one answer, from its first header to its end.
        most: bytes of one answer's body.
        connections: how many are kept open to one host.
        cut: whether the beginning of a body is enough, if the whole is too long or does not come.
        until: the monotonic time after which nothing is sent, and at which every answer ends.
    """
    session = requests.Session()
    session.verify = trusted(ca_file)
    # a compressed body could grow beyond any bound
    session.headers["Accept-Encoding"] = "identity"
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _BoundedAdapter(
        session.verify,
        None if ca_file is None else AuthorityFile(ca_file),
        _pools(seconds, until),
        most,
        cut=cut,
        pool_connections=4,
        pool_maxsize=connections,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


class _BoundedAdapter(HTTPAdapter):
    """Reads each answer's body by itself: requests would read on as long as a body goes on."""

    def __init__(
        self,
        verify: str | bool,  # noqa: FBT001 - requests'
        authorities: AuthorityFile | None,
        pools: dict[str, type[HTTPConnectionPool]],
        most: int,
        *,
        cut: bool,
        **pool: Any,  # noqa: ANN401 - requests'
    ) -> None:
        self._verify, self._authorities = verify, authorities
        self._pools = pools
        self._most, self._cut = most, cut
        self._tokens = RecentSecrets(_TOKENS)
        super().__init__(**pool)

    def init_poolmanager(self, *sizes: Any, **how: Any) -> None:  # noqa: ANN401 - requests'
        super().init_poolmanager(*sizes, **how)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **how: Any) -> Any:  # noqa: ANN401 - requests'
        manager = super().proxy_manager_for(proxy, **how)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, conn: Any, url: str, *how: Any) -> None:  # noqa: ANN401 - requests'
        if self._authorities is not None and url.lower().startswith("https:"):
            try:
                self._authorities.require()
            except AuthoritiesError as error:
                raise requests.RequestException(str(error)) from error
        super().cert_verify(conn, url, *how)  # type: ignore[no-untyped-call]

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:  # type: ignore[override] # noqa: ANN401 - requests'
        if is_loopback(urlsplit(request.url or "").hostname):
            # $http_proxy would get what goes unencrypted because it stays on this host
            how["proxies"] = {}
        if self._verify is not True:
            # requests would let $REQUESTS_CA_BUNDLE replace the session's own file
            how["verify"] = self._verify
        response = super().send(request, **{**how, "stream": True})
        # nobody can follow a redirect whose place is not named
        if (location := response.headers.pop("Location", None)) is not None and (
            here := followed(request.url or "", location)
        ):
            response.headers["Location"] = here
        self._tokens.add(request.headers.get("X-Auth-Token"))
        try:
            body = self._body(response.raw)
            # no words of an answer that repeats our token get into an event, a log or an error
            if self._tokens.are_in(body):
                body = b""
            if self._tokens.are_in((response.reason or "").encode(errors="replace")):
                response.reason = ""
            # what requests' own Response.content would have set
            response._content = body  # noqa: SLF001
            vars(response)["_content_consumed"] = True
        except BaseException:
            response.close()
            raise
        return response

    def _body(self, raw: urllib3.HTTPResponse) -> bytes:
        body = bytearray()
        try:
            # unlike read, read1 returns what one packet has brought
            while len(body) <= self._most and (chunk := raw.read1(_CHUNK, decode_content=False)):
                body += chunk
        except urllib3.exceptions.HTTPError as error:
            if not self._cut:
                raise _unread(error) from None
        else:
            if len(body) <= self._most:
                raw.release_conn()
                return bytes(body)
            if not self._cut:
                raise requests.RequestException(f"the answer exceeds {self._most} bytes")
        raw.close()
        return bytes(body[: self._most])


def _unread(error: urllib3.exceptions.HTTPError) -> requests.RequestException:
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return requests.ReadTimeout(str(error.__cause__ or error))
    return requests.ConnectionError(f"the answer ends early: {error}")


def _pools(seconds: float, until: float) -> dict[str, type[HTTPConnectionPool]]:
    """Pools whose connections are made within `seconds`, and give each answer, headers and body, as much."""

    def timed(kind: type[HTTPConnection]) -> dict[str, Any]:
        def connect(connection: HTTPConnection) -> None:
            latest = min(until, time.monotonic() + seconds)
            kind.connect(connection)
            _send_nothing_late(connection.sock, seconds)
            # the resolver, and each further address of the host, have taken time of their own
            if time.monotonic() >= latest:
                connection.close()
                raise urllib3.exceptions.ConnectTimeoutError(connection, "connected too late")

        answer = staticmethod(partial(_TimedResponse, seconds, until))
        return {"connect": connect, "response_class": answer}

    plain = type("_Plain", (HTTPConnection,), timed(HTTPConnection))
    secure = type("_Secure", (HTTPSConnection,), timed(HTTPSConnection))
    return {
        "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


def _send_nothing_late(sock: socket.socket, seconds: float) -> None:
    """Let the kernel forget a request that has had its time, or whose process has ended.

    Otherwise TCP repeats it for minutes where the network is cut, and a call that was given up takes
    effect after all: tcp(7), TCP_USER_TIMEOUT; socket(7), SO_LINGER.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


class _TimedResponse(HTTPResponse):
    """An answer that ends in time: the sockets' own timeout begins again with every byte."""

    def __init__(
        self,
        seconds: float,
        until: float,
        sock: socket.socket,
        *more: Any,  # noqa: ANN401 - http.client's
        **how: Any,  # noqa: ANN401 - http.client's
    ) -> None:
        super().__init__(sock, *more, **how)
        timed = _TimedReader(self.fp.detach(), sock, min(seconds, until - time.monotonic()))
        self.fp = io.BufferedReader(timed)


class _TimedReader(io.RawIOBase):
    """Reads a socket's file until a deadline, then raises TimeoutError."""

    def __init__(self, file: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        self._file, self._socket, self._seconds = file, sock, seconds
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - a writable buffer has no type
        left = self._deadline - time.monotonic()
        patience = self._socket.gettimeout()
        if left > 0 and (patience is None or left < patience):
            self._socket.settimeout(left)
        try:
            if left > 0:
                return self._file.readinto(buffer)
        except TimeoutError:
            if time.monotonic() < self._deadline:
                raise
        raise TimeoutError(f"the answer takes more than {self._seconds:g} s")

    def close(self) -> None:
        self._file.close()
        super().close()
