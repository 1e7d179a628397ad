"""Reads secrets from files that no other user may read, or from commands."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from producers.trust import (
    MOST_SECRET,
    UntrustedFileError,
    closed_bits,
    read_guarded,
    require_trusted,
    resolved,
    shown_file,
)
from workers.process.programs import TooMuchOutputError, run_program
from workers.tokens.errors import SourceError

_COMMAND_TIMEOUT = 10.0
# A command does not show whether its secret has changed; a refused one is tried again after this.
_COMMAND_RETRY = 3600.0


class Secret(Protocol):
    """A secret, read again for each use."""

    @property
    def place(self) -> str:
        """Where the secret is, for messages."""

    def read(self) -> str:
        """The secret, without surrounding white space.

        Raises:
            SourceError: there is no secret, or other users may read it.
        """

    def fingerprint(self) -> str:
        """Changes when the secret may have changed; cheap, and safe in any thread."""


class SecretFile:
    """A file that only this user may read, or a credential of systemd; `path` as configured."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def place(self) -> str:
        """The file."""
        return f"file {shown_file(self.path)}"

    def read(self) -> str:
        """Read the file; errors as in Secret."""
        self._resolved()
        try:
            text = read_guarded(self.path, closed_bits(self.path)).decode().strip()
        except UntrustedFileError as error:
            raise unusable(self.path, error.problem) from None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise unusable(self.path, f"cannot be read: {reason}") from None
        if not text:
            raise unusable(self.path, "is empty")
        return text

    def fingerprint(self) -> str:
        """Changes with the file's inode, modification time, size and mode."""
        try:
            status = self._resolved().stat()
        except SourceError as error:
            return error.error
        except OSError as error:
            return type(error).__name__
        return f"{status.st_ino}:{status.st_mtime_ns}:{status.st_size}:{status.st_mode:o}"

    def _resolved(self) -> Path:
        try:
            return resolved(self.path)
        except FileNotFoundError as error:
            raise SourceError(
                "credential_unusable",
                f"{self.path}: {error.strerror}",
                permanent=True,
                remedy="add it to LoadCredential= or LoadCredentialEncrypted= of the unit",
            ) from None


class SecretCommand:
    """The output of a command, such as the client of a secret store."""

    def __init__(self, words: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._words = words
        self._clock = clock

    @property
    def place(self) -> str:
        """The first word of the command."""
        return f"the output of {self._words[0]}"

    def read(self) -> str:
        """Run the command; errors as in Secret, without the command's standard error."""
        problem = "printed nothing"
        try:
            self._require_trusted()
            done = run_program(self._words, _COMMAND_TIMEOUT, most=MOST_SECRET)
            done.check_returncode()
            text = done.stdout.decode().strip()
            if text:
                return text
        except subprocess.TimeoutExpired:
            problem = f"ran longer than {_COMMAND_TIMEOUT:g} s"
        except subprocess.CalledProcessError as error:
            problem = f"exited with status {error.returncode}"
        except TooMuchOutputError as error:
            problem = str(error)
        except OSError as error:
            problem = f"cannot be run: {error.strerror}"
        except UnicodeDecodeError:
            problem = "printed non-UTF-8 output"
        raise SourceError(
            "command_failed",
            f"the command {self._words[0]} for the secret {problem}",
            remedy=f"run {self._words[0]} as the token service's user to see why",
        )

    def _require_trusted(self) -> None:
        if program := shutil.which(self._words[0]):
            try:
                require_trusted(Path(program))
            except UntrustedFileError as error:
                raise unusable(Path(program), error.problem) from None

    def fingerprint(self) -> str:
        """Changes every hour."""
        return f"hour {self._clock() // _COMMAND_RETRY:g}"


def secret_of(file: Path | None, command: tuple[str, ...]) -> Secret:
    """The secret in `file`, or else the output of `command`."""
    return SecretCommand(command) if file is None else SecretFile(file)


def unusable(path: Path, problem: str) -> SourceError:
    """The error of a secret's file that only an operator can fix."""
    return SourceError(
        "credential_unusable",
        f"{shown_file(path)} {problem}",
        permanent=True,
        remedy=f"put the secret into {shown_file(path)}, owned by the token service's user, mode 0600",
    )
