"""Puts files in place: missing ones are written, existing ones are never changed."""

import difflib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from producers.disk import read_file
from producers.settings import ConfigError
from workers.process.files import create_file

# Of root, as su(1) sets it.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Found(Enum):
    """What is in a file's place."""

    MISSING = "missing"
    SAME = "same"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to put in place.

    Attributes:
        path: absolute.
        content: its text.
        mode: its permissions.
        owner: user and group, by name.
        secret: whether its content is kept if the file exists, and never shown.
    """

    path: Path
    content: str
    mode: int = 0o644
    owner: tuple[str, str] = ("root", "root")
    secret: bool = False

    def found(self) -> Found:
        """What is in its place; ConfigError if it cannot be read."""
        try:
            present = read_file(self.path).decode()
        except FileNotFoundError:
            return Found.MISSING
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.path}: {error}; run init as root") from None
        return Found.SAME if self.secret or present == self.content else Found.DIFFERENT

    def diff(self) -> Iterator[str]:
        """The lines of a unified diff from the file in its place to this one."""
        present = self.path.read_text(encoding="utf-8").splitlines()
        names = (str(self.path), "lamplighter init")
        return difflib.unified_diff(present, self.content.splitlines(), *names, lineterm="")

    def write(self) -> None:
        """Write it; an existing file stays as it is. ConfigError if it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            create_file(self.path, self.content.encode(), self.mode)
            shutil.chown(self.path, *self.owner)
        except (OSError, LookupError) as error:
            raise ConfigError(f"{self.path}: {error}; run init as root") from None


def run(command: Sequence[str], text: str = "") -> str | None:
    """Run a system command with `text` as its input; returns what it says if it fails, else None."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        return f"{command[0]} is not installed"
    done = subprocess.run(
        [program, *command[1:]],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"},
    )
    return (done.stderr.strip() or done.stdout.strip() or "failed") if done.returncode else None
