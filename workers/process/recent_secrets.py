"""Remembers the last secrets of one service, so that no words of its answers repeat one of them."""

import threading

from workers.process.echoes import Echoes, without_tokens


class RecentSecrets:
    """The last `most` secrets that this process has sent to a service, or got from it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: tuple[str, ...] = ()
        self._echoes: Echoes | None = None

    def add(self, *secrets: str | None) -> None:
        """Remember them; the oldest ones are forgotten."""
        with self._lock:
            new = tuple(one for one in secrets if one and one not in self._kept)
            if new:
                self._kept = (*self._kept, *new)[-self._most :]
                self._echoes = None

    def are_in(self, answer: bytes) -> bool:
        """Whether an answer repeats a piece of one of them, plain or encoded."""
        with self._lock:
            echoes = self._echoes = self._echoes or Echoes(self._kept)
        return echoes.are_in(answer)

    def safe(self, words: str) -> str:
        """The words of an answer, without what looks like a token; "" if they repeat a secret."""
        if self.are_in(words.encode(errors="surrogatepass")):
            return ""
        return without_tokens(words)
