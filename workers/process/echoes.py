"""Finds what a stranger's answer repeats of a secret that was sent to it. Pure."""

import base64
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

# A piece of a secret of this length is found, wherever it begins.
_PIECE = 8
# In long answers, every piece of at least 24 characters is found.
_LONG_PIECE, _LONG_STEP, _LONG = 16, 8, 2**16
_ESCAPED = re.compile(rb"\\u00([0-7][0-9a-fA-F])")


def repeats(answer: bytes, secret: str) -> bool:
    """Whether an answer contains a piece of a secret: plain, or encoded for URLs, in Base64 or in hex."""
    if b"\\" in answer:  # JSON can write any character as an escape
        plain = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), answer)
        answer = answer + b"\0" + plain.replace(b"\\/", b"/")
    if len(answer) >= _LONG:
        return any(piece in answer for piece in _all_pieces(secret, _LONG_PIECE, _LONG_STEP))
    pieces = _all_pieces(secret, _PIECE, 1)
    # one look at each place of the answer, not one search for each of a thousand pieces
    found = (answer[at : at + _PIECE] for at in range(len(answer) - _PIECE + 1))
    return not pieces.isdisjoint(found) or (
        len(secret) < _PIECE and any(piece in answer for piece in pieces)
    )


@lru_cache(maxsize=4)  # each answer to the same token is searched
def _all_pieces(secret: str, size: int, step: int) -> frozenset[bytes]:
    return frozenset(piece for form in set(_forms(secret)) for piece in _pieces(form, size, step))


def _pieces(form: bytes, size: int, step: int) -> Iterator[bytes]:
    if form and len(form) <= size:
        yield form
        return
    for start in range(0, len(form) - size + 1, step):
        yield form[start : start + size]


def _forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode(errors="surrogatepass")
    yield raw
    yield quote(secret, safe="", errors="replace").encode()
    yield quote_plus(secret, errors="replace").encode()
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for skipped in range(3):  # the text before it shifts Base64 by this many bytes
        coded = base64.b64encode(bytes(skipped) + raw)
        # without the characters that also hold bits of what is before and after it
        inner = coded[(0, 2, 3)[skipped] : len(coded) - 4]
        if len(inner) >= _PIECE:
            yield inner
            yield inner.replace(b"+", b"-").replace(b"/", b"_")
