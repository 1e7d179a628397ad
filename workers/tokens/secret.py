"""Secrets come from files that nobody else may read, or from commands; never from elsewhere."""

import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from workers.config.settings import CREDENTIALS
from workers.tokens.errors import SourceError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_COMMAND_TIMEOUT = 10.0
# A command says nothing of whether its secret has changed: a bad one is tried again so often.
_COMMAND_RETRY = 3600.0


class Secret(Protocol):
    """A secret, read anew each time.

    Attributes:
        place: where it is, for people.
    """

    @property
    def place(self) -> str:
        """Where it is, for people."""

    def read(self) -> str:
        """The secret, without surrounding white space.

        Raises:
            SourceError: there is none, or others may read it.
        """

    def fingerprint(self) -> str:
        """Changes when the secret may have changed; cheap, for any thread."""


class SecretFile:
    """A file of ours alone, or one of systemd's credentials.

    Attributes:
        path: as configured.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def place(self) -> str:
        """The file."""
        return f"file {self.path}"

    def read(self) -> str:
        """As Secret.

        Raises:
            SourceError: as Secret.
        """
        return read_secret(self._resolved(), _OTHERS & ~stat.S_IRGRP if self._systemd else _OTHERS)

    def fingerprint(self) -> str:
        """Of the file's identity, time, size and mode."""
        try:
            status = self._resolved().stat()
        except SourceError as error:
            return error.error
        except OSError as error:
            return type(error).__name__
        return f"{status.st_ino}:{status.st_mtime_ns}:{status.st_size}:{status.st_mode:o}"

    @property
    def _systemd(self) -> bool:
        """Whether systemd guards the file; it may let its user in by an ACL, shown as group's."""
        return str(self.path).startswith(CREDENTIALS)

    def _resolved(self) -> Path:
        if not self._systemd:
            return self.path
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if folder is None:
            raise SourceError(
                "credential_unusable",
                f"{self.path}: systemd has given us no credentials",
                permanent=True,
                remedy="name it in LoadCredential= or LoadCredentialEncrypted= of the unit",
            )
        return Path(folder) / str(self.path).removeprefix(CREDENTIALS)


class SecretCommand:
    """What a command prints, such as a vault's client."""

    def __init__(self, words: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._words = words
        self._clock = clock

    @property
    def place(self) -> str:
        """The command's first word."""
        return f"what {self._words[0]} prints"

    def read(self) -> str:
        """Run it.

        Raises:
            SourceError: as Secret; what the command said on standard error is not passed on.
        """
        problem = "printed nothing"
        try:
            done = subprocess.run(
                self._words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=_COMMAND_TIMEOUT,
            )
            text = done.stdout.decode().strip()
            if text:
                return text
        except subprocess.TimeoutExpired:
            problem = f"ran longer than {_COMMAND_TIMEOUT:g} s"
        except subprocess.CalledProcessError as error:
            problem = f"ended with status {error.returncode}"
        except OSError as error:
            problem = f"cannot be run: {error.strerror}"
        except UnicodeDecodeError:
            problem = "printed what is no text"
        raise SourceError(
            "command_failed",
            f"the command {self._words[0]} for the secret {problem}",
            remedy=f"run {self._words[0]} as the token service's user and see",
        )

    def fingerprint(self) -> str:
        """Changes every hour."""
        return f"hour {self._clock() // _COMMAND_RETRY:g}"


def secret_of(file: Path | None, command: tuple[str, ...]) -> Secret:
    """The one of the two that is configured."""
    return SecretCommand(command) if file is None else SecretFile(file)


def read_secret(path: Path, closed_to: int = _OTHERS) -> str:
    """The file's text, without surrounding white space.

    Args:
        path: the file.
        closed_to: mode bits that must not be set.

    Raises:
        SourceError: it cannot be read, is empty, or others may read or write it.
    """
    try:
        with path.open() as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no text"
        raise unusable(path, f"cannot be read: {reason}") from None
    if mode & closed_to:
        raise unusable(path, f"is open to other users (mode {stat.S_IMODE(mode):04o})")
    if not text:
        raise unusable(path, "is empty")
    return text


def unusable(path: Path, problem: str) -> SourceError:
    """A secret's file does not do; nobody but a person can mend that."""
    return SourceError(
        "credential_unusable",
        f"{path} {problem}",
        permanent=True,
        remedy=f"put the secret into {path}, owned by the token service's user, mode 0600",
    )
