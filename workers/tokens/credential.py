"""Finds the secret of each kind of source."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from producers.settings import ConfigError
from workers.config.clouds_yaml import entry_secret
from workers.config.logins import CloudsYamlSource, Source
from workers.tokens.errors import SourceError
from workers.tokens.secret import Secret, SecretFile, secret_of, unusable


@contextmanager
def entry_errors(path: Path) -> Iterator[None]:
    """Map an unusable entry of clouds.yaml to a SourceError, whose remedy names `path`."""
    try:
        yield
    except ConfigError as error:
        remedy = f"fix {path}"
        raise SourceError(
            "credential_unusable", str(error), permanent=True, remedy=remedy
        ) from None


class EntrySecret:
    """The secret of an entry of clouds.yaml, or of the secure.yaml beside it."""

    def __init__(self, source: CloudsYamlSource) -> None:
        self._entry = source.reference

    @property
    def place(self) -> str:
        """The entry and its file."""
        return f"entry {self._entry.name} of file {self._entry.secret_file}"

    def read(self) -> str:
        """Read the secret from a file that no other user may read; errors as in Secret."""
        path = self._entry.secret_file
        SecretFile(path).read()
        with entry_errors(path):
            found = entry_secret(self._entry)
        if found is None:
            raise unusable(path, f"holds no secret of {self._entry.name}")
        holder, secret = found
        if holder != path:
            SecretFile(holder).read()
        return secret

    def fingerprint(self) -> str:
        """Changes with either file: identity and secret may change together."""
        files = (self._entry.file, self._entry.secret_file)
        return " ".join(SecretFile(path).fingerprint() for path in files)


def credential(source: Source) -> Secret:
    """The secret of a source."""
    if isinstance(source, CloudsYamlSource):
        return EntrySecret(source)
    return secret_of(*source.secret)
