"""Finds what a text repeats of a secret, whole or in part, plain or encoded. Pure."""

import base64
import json
import re
import sys
from collections.abc import Iterable
from functools import cached_property, lru_cache
from html import escape
from urllib.parse import quote, quote_plus

# A piece of a secret of this length is found, wherever it begins.
PIECE = 8
# Shorter pieces of Base64 are found everywhere.
_SHORTEST = 4
# In long answers, every piece of at least 23 characters is found: one look at every sixteenth place,
# and a second one at what may be found by chance.
_LONG_PIECE, _LONG_STEP, _LONG = 16, 8, 2**16
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_FOR_URLS = str.maketrans("+/", "-_")
# Of a JWT (RFC 7519), header and payload begin with `{"`, in Base64.
_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}(\.[\w-]*)*|\bgAAAA[\w-]{20,}=*", re.ASCII)
_ESCAPED = re.compile(rb"\\u00([0-7][0-9a-fA-F])|\\([nrt/])")
_CODED = re.compile(rb"%([0-9a-fA-F]{2})")
_LOWER, _SPACE = bytes(range(256)).lower(), b" \t\r\n\v\f"


class Echoes:
    """Finds what a text repeats of some secrets, in any of their `forms`: one look for all of them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # each form, with the length of eight characters of the secret in it
        self._sizes = {
            _level(form.encode(errors="surrogatepass")): max(
                PIECE, PIECE * len(form) // len(secret)
            )
            for secret in secrets
            for form in forms(secret)
            if form
        }
        self._pieces = lru_cache(maxsize=None)(self._of_size)

    def are_in(self, answer: bytes) -> bool:
        """Whether a stranger's answer contains a piece of a secret, also in capitals or over lines."""
        if not self._sizes:
            return False
        answer = _level(answer)
        is_long = len(answer) >= _LONG
        if any(form in answer for form in self._sizes if len(form) < PIECE):
            return True
        if is_long:
            numbers = memoryview(answer)[: len(answer) & -PIECE].cast("Q")[:: _LONG_PIECE // PIECE]
            if self._numbers.isdisjoint(numbers):
                return False
            return self._has(answer, _LONG_PIECE, _LONG_STEP)
        # Eight hexadecimal digits may be there by chance, in any id: sixteen are eight characters
        return self._has(answer, PIECE) and any(
            self._has(answer, size, of=size) for size in sorted({*self._sizes.values()})
        )

    def _has(self, answer: bytes, size: int, step: int = 1, *, of: int | None = None) -> bool:
        # one look at each place of the answer, not one search for each of a thousand pieces
        return not self._pieces(size, of).isdisjoint(
            answer[at : at + size] for at in range(0, len(answer) - size + 1, step)
        )

    @cached_property
    def _numbers(self) -> frozenset[int]:
        """The pieces of eight bytes as numbers: a long answer is looked at as a row of numbers."""
        return frozenset(int.from_bytes(one, sys.byteorder) for one in self._of_size(PIECE))

    def _of_size(self, size: int, of: int | None = None) -> frozenset[bytes]:
        """The pieces of all forms; or of those where `of` characters are a piece of the secret."""
        return frozenset(
            form[at : at + size]
            for form, needed in self._sizes.items()
            if of in {None, needed}
            for at in range(len(form) - size + 1)
        )


def _level(text: bytes) -> bytes:
    """A text without capitals, line ends and spaces; also as it is without escapes of JSON or a URL."""
    shown = [text]
    if b"\\" in text:  # JSON can write any character as an escape
        shown.append(_ESCAPED.sub(_character, text))
    if b"%" in text and len(text) < _LONG:
        shown.append(_CODED.sub(_character, text))
    return b"\0".join(shown).translate(_LOWER, _SPACE)


def _character(found: re.Match[bytes]) -> bytes:
    digits = found[1]
    return bytes([int(digits, 16)]) if digits else found[2].translate(None, b"nrt")


def without_tokens(text: str) -> str:
    """The text without what looks like a token, whoever's it is: a JWT, or a Fernet token of Keystone."""
    return _TOKEN.sub("(a token)", text)


def forms(secret: str) -> set[str]:
    """A secret as a text may show it: plain, in JSON, HTML or a URL, in hexadecimal, in Base64.

    Bytes that are not UTF-8, as in the environment, are surrogates (`surrogateescape`).
    """
    try:
        raw = secret.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raw = secret.encode(errors="surrogatepass")
    found = {secret, escape(secret), raw.hex(), raw.hex().upper()}
    found |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    for url in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        found |= {url, _PERCENT.sub(lambda code: code[0].lower(), url)}
    for shift in range(3):  # the text before it shifts Base64 by this many bytes
        coded = base64.b64encode(bytes(shift) + raw).decode().rstrip("=")
        # without the characters that also hold bits of what is before and after it
        inner = coded[(0, 2, 3)[shift] : -1]
        if len(inner) >= _SHORTEST:
            found |= {inner, inner.translate(_FOR_URLS)}
    return found
