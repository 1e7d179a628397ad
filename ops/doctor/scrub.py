"""Removes secrets from text: known ones in any notation, and whatever looks like one. Pure."""

import re
import shlex
from collections.abc import Iterable, Iterator

from workers.process.echoes import PIECE, forms

MASK = "***"
# Shorter texts, such as `no`, would mask words everywhere.
_SHORTEST = 4

_TOKENS = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----|\Z)"
    # one whose beginning is before that of the text
    r"|\A(?:[^\n]*\n)?(?:[^\n]*[A-Za-z0-9+/=][ \t\r]*\n){0,200}[^\n]*-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----"
    # a Fernet token of Keystone, a JSON Web Token, a token of Vault
    r"|gAAAA[\w=-]{16,}|eyJ[\w-]{8,}(?:\.[\w-]*)*|\bhv[sbr]\.[\w-]{16,}"
    # a secret of a webhook (Standard Webhooks)
    r"|whsec_[\w+/=-]{16,}"
    r"|(?i:(?<=bearer )|(?<=basic ))\S+"
)
_NAME = (
    r"(?i:passw|passphrase|passcode|pwd|secret|token|credential|signature|scram_|admin.?pass"
    r"|(?<![a-z])(?:pass|sig)(?![a-z])|(?:api|access|private|auth|url|client).?key|authorization)"
    r"[\w.-]{0,40}(?<!_file)(?<!_files)(?<!_endpoint)"
)
_CLOSED = r"(?:\\*[\"']|&quot;|&#34;|%22)"
_QUOTED = r"(?:\"(?:[^\"\\]|\\.)*\"|'[^']*')"
_LOOKS = re.compile(
    _TOKENS
    # of a password too that has a slash or an @
    + r"|(?<=://)[^\s\"'<>]{0,500}@"
    r"|(?i:cookie2?\s*[:=])[^\n]*"
    # in quotes with its name, as systemd writes a variable; an option of a command
    rf"|(?<=[\"'])[\w.-]{{0,40}}{_NAME}=[^\"'\n]*"
    rf"|(?<![\w-])--[\w-]{{0,40}}{_NAME}[= ]+(?:{_QUOTED}|\S+)"
    # a name, of a value and not of a file, as in TOML, JSON, JSON in JSON, XML, a URL, a header, a list, SQL
    rf"|{_NAME}(?:{_CLOSED}\s*,|{_CLOSED}?\s*(?:[:=>]|%3[ADad])|\s+(?=[\"']))\s*"
    # a value: with quotes, and Python's or other marks before them, and what a shell joins to it; what brackets hold,
    # or indented lines; the rest of the line, or a word
    rf"(?:\\+\".*?\\+\"|[bru$]{{0,2}}{_QUOTED}(?:{_QUOTED}|\\.|[^\s\"'\\,;&)}}\]])*"
    r"|[\w.]{0,40}[\[({<>|][^\n]*(?:\n[ \t][^\n]*)*"
    r"|(?<=:)[^\n\"']+|(?<=[:=] )[^\n\"']+|(?:\\\s+|\\.|[^\s\\])+)",
    re.DOTALL,
)
_LOOKS_LIKE_TOKEN = re.compile(_TOKENS, re.DOTALL)


class Scrubber:
    """Masks these secrets, pieces of them, and what looks like a secret.

    `own_words`: whether the text is ours, and may name a setting of a secret with what is wrong.
    """

    def __init__(self, secrets: Iterable[str], *, own_words: bool = False) -> None:
        self._looks = _LOOKS_LIKE_TOKEN if own_words else _LOOKS
        self._pieces: dict[int, set[str]] = {}
        for secret in {one.strip() for one in secrets}:
            if len(secret) < _SHORTEST:
                continue
            for form in {*forms(secret), *_in_shell(secret)}:
                size = min(PIECE, len(form))
                found = self._pieces.setdefault(size, set())
                found.update(form[at : at + size] for at in range(len(form) - size + 1))

    def __call__(self, text: str) -> str:
        """The text with all secrets masked."""
        text = self._looks.sub(MASK, text)
        masked = bytearray(len(text))
        for size, pieces in self._pieces.items():
            for at in range(len(text) - size + 1):
                if text[at : at + size] in pieces:
                    masked[at : at + size] = b"\1" * size
        return "".join(_unmasked(text, masked))


def _in_shell(secret: str) -> Iterator[str]:
    """A secret as bash, systemd and Python quote it."""
    yield shlex.quote(secret)
    yield secret.replace("'", r"'\''")
    yield re.sub(r"([\"$`\\])", r"\\\1", secret)
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", secret)


def _unmasked(text: str, masked: bytearray) -> Iterator[str]:
    at = 0
    for run in re.finditer(rb"\x01+", masked):
        yield text[at : run.start()]
        yield MASK
        at = run.end()
    yield text[at:]
