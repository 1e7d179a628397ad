"""Answers of foreign services are bounded in size, time and depth, and are a value or a named error."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from workers.process import foreign
from workers.process.authorities import trusted
from workers.process.foreign import (
    LONGEST_LINE,
    UnreadableError,
    bounded_session,
    one_line,
    read_json,
)
from workers.process.retry_after import LONGEST, requested_wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def saying(*parts: bytes, pause: float = 0.0, endless: bool = False) -> Iterator[str]:
    """A server that says these parts to one caller; `pause` seconds before each but the first."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def said() -> Iterable[bytes]:
        yield from parts
        while endless:
            yield parts[-1]

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            try:
                for number, part in enumerate(said()):
                    if stop.wait(pause if number else 0.0):
                        return
                    connection.sendall(part)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        stop.set()
        thread.join()
        listener.close()


def body_of(url: str, seconds: float = 5.0, most: int = 1000) -> bytes:
    with bounded_session(None, seconds, most=most) as session:
        return session.get(url, timeout=5.0).content


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ((HEAD + b"Content-Length: 5\r\n\r\nhello",), b"hello"),
        ((HEAD + b"Connection: close\r\n\r\nhel", b"lo"), b"hello"),
        ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",), b"hello"),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), b""),
    ],
)
def test_an_answer_within_bounds_is_read_whole(parts: tuple[bytes, ...], body: bytes) -> None:
    with saying(*parts, pause=0.05) as url:
        assert body_of(url) == body


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_may_stay_unencrypted_on_this_host_goes_to_no_proxy(
    variable: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of the environment would read the password in a login at http://localhost."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with saying(HEAD + b"Content-Length: 5\r\n\r\nhello") as url:
        assert body_of(url.replace("127.0.0.1", host)) == b"hello"


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Content-Length: 100000000\r\n\r\n",
        HEAD + b"Connection: close\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5F5E100\r\n",
    ],
)
def test_an_answer_without_end_is_given_up_at_the_bound(head: bytes) -> None:
    with (
        saying(head, b"x" * 500, endless=True) as url,
        pytest.raises(requests.RequestException, match="exceeds 1000 bytes"),
    ):
        body_of(url)


def test_an_answer_that_comes_byte_by_byte_is_given_up_in_time() -> None:
    head = HEAD + b"Content-Length: 1000\r\n\r\n"
    began = time.monotonic()
    with (
        saying(head, b"x", pause=0.1, endless=True) as url,
        pytest.raises(requests.Timeout, match=r"takes more than 0\.5 s"),
    ):
        body_of(url, seconds=0.5)
    assert time.monotonic() - began < 20.0


def test_headers_that_come_byte_by_byte_are_given_up_in_time() -> None:
    """Each byte begins the socket's timeout again; the answer's own deadline does not move."""
    began = time.monotonic()
    with (
        saying(HEAD + b"X-Endless: ", b"x", pause=0.1, endless=True) as url,
        bounded_session(None, 0.5) as session,
        pytest.raises(requests.Timeout),
    ):
        session.get(url, timeout=5.0)
    assert time.monotonic() - began < 20.0


def test_of_a_request_that_was_given_up_nothing_more_is_sent() -> None:
    """The network may be cut for a while: a call that arrives minutes later would undo newer ones."""
    body = b"x" * 200_000
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # as if the network took no more than this
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with bounded_session(None, 0.3) as session, pytest.raises(requests.ReadTimeout):
            session.post(url, body, timeout=0.3)
        connection, _ = listener.accept()
        connection.settimeout(20)
        with connection, connection.makefile("rb") as file, pytest.raises(ConnectionResetError):
            file.read()


def test_nothing_is_sent_where_connecting_alone_took_the_time_of_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The resolver has no limit of its own: a call that was wanted when it was asked would undo newer ones."""
    passed, real = 0.0, socket.getaddrinfo

    def slow(*of: Any) -> Any:  # noqa: ANN401 - the resolver's
        nonlocal passed
        passed += 5.0
        return real(*of)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed)
    monkeypatch.setattr(foreign, "time", clock)
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with (
            bounded_session(None, 5.0) as session,
            pytest.raises(requests.ConnectTimeout, match="too late"),
        ):
            session.post(url, b"stop", timeout=5.0)
        connection, _ = listener.accept()
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(100)


@pytest.mark.parametrize("length", [b"100000000", b"5"])
def test_the_beginning_of_a_body_can_be_enough(length: bytes) -> None:
    with (
        saying(HEAD + b"Content-Length: " + length + b"\r\n\r\nhello") as url,
        bounded_session(None, 0.5, most=4, cut=True) as session,
    ):
        assert session.get(url, timeout=0.5).content == b"hell"


def test_an_answer_that_ends_early_is_an_error() -> None:
    with (
        saying(HEAD + b"Content-Length: 50\r\n\r\nhello") as url,
        pytest.raises(requests.ConnectionError),
    ):
        body_of(url)


def test_a_compressed_answer_is_not_unpacked() -> None:
    """A few bytes could become any number."""
    packed = gzip.compress(b"0" * 10**6)
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with saying(head + packed) as url:
        assert body_of(url, most=10_000) == packed


def test_no_cookie_is_kept() -> None:
    answer = HEAD + b"Set-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    with saying(answer) as url, bounded_session(None, 5.0) as session:
        session.get(url, timeout=5.0)
        assert not session.cookies


def test_only_a_file_that_is_named_replaces_the_systems_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.pem"
    store.write_text("")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    assert trusted(tmp_path / "own.pem") == str(tmp_path / "own.pem")
    assert trusted(None) == str(store)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert trusted(None) == str(tmp_path)
    store.unlink()
    assert trusted(None) is True, "an empty store is none"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/other")
    assert trusted(None) is True, "requests reads the variable by itself"


class Shape(msgspec.Struct):
    text: str
    number: int = 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "number"]), inner, max_size=2)
    ),
    max_leaves=8,
)


@given(st.binary(max_size=200) | JSON.map(msgspec.json.encode))
def test_any_bytes_are_a_value_or_a_named_error(body: bytes) -> None:
    try:
        value = read_json(body, Shape)
    except UnreadableError as error:
        assert str(error).isprintable()  # noqa: PT017 - one of two ends
    else:
        assert value.text.encode() is not None


@pytest.mark.parametrize("nest", [b"[", b'{"x":'])
def test_an_answer_of_any_depth_is_a_named_error(nest: bytes) -> None:
    with pytest.raises(UnreadableError, match="nested too deeply"):
        read_json(b'{"y":' + nest * 1_000_000, Shape)


@given(st.text(st.characters(), max_size=3000))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert line.encode() is not None
    assert len(line) <= LONGEST_LINE


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_header_is_a_wait_within_bounds_or_none(retry_after: str, date: str) -> None:
    wait = requested_wait({"Retry-After": retry_after, "Date": date}, 1e9)
    assert wait is None or 0 <= wait <= LONGEST


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 -9999",
        "Sat, 28 Nov 2026 17:00:00 +99999999999999999999",
        "1 Jan 99999999999999999999 00:00:00 GMT",
        "9" * 5000,
        ",,,,",
    ],
)
def test_an_odd_time_is_no_error(value: str) -> None:
    for headers in ({"Retry-After": value}, {"Retry-After": "1 Jan 2026 GMT", "Date": value}):
        wait = requested_wait(headers, 1e9)
        assert wait is None or 0 <= wait <= LONGEST
