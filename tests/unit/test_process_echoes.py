"""A stranger's answer that repeats a secret is noticed, whole or in part, plain or encoded."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from tests.testbed.web_server import serving
from workers.process.echoes import Echoes
from workers.process.foreign import bounded_session
from workers.process.recent_secrets import RecentSecrets
from workers.tokens.errors import SourceError
from workers.tokens.oidc import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "s3cr3t/of+someone~who=hides_it-well.4711"
FORMS = {
    "whole": SECRET,
    "a piece": SECRET[5:14],
    "the end": SECRET[-8:],
    "for a URL": quote(SECRET, safe=""),
    "a piece for a URL": quote(SECRET, safe="")[6:20],
    "Base64": base64.b64encode(SECRET.encode()).decode(),
    "Base64 in a pair": base64.b64encode(b"client:" + SECRET.encode()).decode(),
    "Base64 in a shifted pair": base64.b64encode(b"client1:" + SECRET.encode() + b"x").decode(),
    "a piece of Base64": base64.b64encode(SECRET.encode()).decode()[8:22],
    "Base64 for URLs": base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    "hex": SECRET.encode().hex(),
    "upper hex": SECRET.encode().hex().upper()[3:40],
    "JSON escapes": "".join(f"\\u{ord(c):04x}" for c in SECRET),
    "capitals": SECRET.upper()[3:11],
    "small letters in Base64": base64.b64encode(SECRET.encode()).decode().lower(),
    "over lines": "\n ".join(SECRET),
    "Base64 over lines": "\r\n".join(base64.b64encode(SECRET.encode()).decode()[8:22]),
    "over lines in JSON": "\\n".join(SECRET[4:13]),
    "each character for a URL": "".join(f"%{ord(c):02x}" for c in SECRET),
    "escaped slashes": SECRET.replace("/", "\\/")[:10],
}


def repeats(answer: bytes, secret: str) -> bool:
    """Whether an answer contains a piece of a secret in any form."""
    return Echoes((secret,)).are_in(answer)


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_a_repeated_secret_is_found_in_each_form(form: str) -> None:
    assert repeats(f'{{"message": "wrong: {form}!"}}'.encode(), SECRET)
    assert not repeats(b'{"message": "wrong credentials"}', SECRET)


def test_ids_that_share_a_few_digits_with_the_code_of_a_secret_are_no_echo() -> None:
    """Eight digits are found by chance in a list of servers: a cloud would be away for a token's life."""
    code = SECRET.encode().hex()
    ids = " ".join(code[at : at + 8] for at in range(0, len(code), 8))
    assert not repeats(ids.replace(" ", "-").encode(), SECRET)
    assert repeats(code[7:25].encode(), SECRET)


@given(st.text("abcXYZ019-_", min_size=24, max_size=200), st.integers(0, 100), st.integers(24, 90))
def test_every_long_piece_is_found_also_in_a_long_answer(text: str, at: int, size: int) -> None:
    at = min(at, len(text) - 24)
    piece = text[at : at + size].encode()
    assert repeats(b"!" * (70_000 + at) + piece + b"!" * 10, text)


@given(st.binary(max_size=200))
def test_any_answer_can_be_searched(answer: bytes) -> None:
    assert not repeats(answer.replace(b"s", b"").replace(b"7", b""), "ssssssss77777777")


@contextmanager
def echoing(status: int) -> Iterator[str]:
    """A server that repeats the token in its words, in each form, and in the reason."""

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.headers["X-Auth-Token"] or "none"
            body = b'{"error": {"message": "token %s"}}' % quote(token, safe="").encode()
            self.send_response(status, f"bad {token}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Echo) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize("status", [200, 403, 500])
def test_no_answer_of_a_cloud_brings_our_token_back(status: int) -> None:
    with echoing(status) as url, bounded_session(None, 5.0) as session:
        answer = session.get(url, headers={"X-Auth-Token": SECRET}, timeout=5)
        assert (answer.status_code, answer.content, answer.reason) == (status, b"", "")
        assert session.get(url, timeout=5).content


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_no_words_of_a_provider_bring_a_secret_back(form: str) -> None:
    """The code still counts; a code that is itself a piece of the secret does not."""
    answer = requests.Response()
    answer.status_code, answer.url = 400, "https://provider/token"
    text = form.replace("\\", "\\\\") if form == FORMS["JSON escapes"] else form
    text = text.replace("\r", "\\r").replace("\n", "\\n")
    answer._content = f'{{"error": "invalid_grant", "error_description": "no {text}"}}'.encode()
    secrets = RecentSecrets(2)
    secrets.add(SECRET, "1abcdefgh_ijkl2")
    error = refusal(answer, "client", secrets, {})
    assert isinstance(error, SourceError)
    assert error.error == "invalid_grant"
    assert "no " not in error.message.partition("invalid_grant")[2]
    answer._content = b'{"error": "abcdefgh_ijkl"}'
    assert "abcdefgh" not in str(refusal(answer, "client", secrets, {}))
