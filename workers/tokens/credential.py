"""The secret of each kind of source."""

from producers.settings import ConfigError
from workers.config.clouds_yaml import entry_kind, entry_secret, secret_file
from workers.config.logins import (
    ApplicationCredentialSource,
    ClientCredentialsSource,
    CloudsYamlSource,
    PasswordSource,
    RefreshTokenSource,
    Source,
)
from workers.tokens.errors import SourceError
from workers.tokens.secret import Secret, SecretFile, secret_of, unusable


class EntrySecret:
    """The secret of an entry of clouds.yaml, or of secure.yaml where that is beside it."""

    def __init__(self, source: CloudsYamlSource) -> None:
        self._source = source

    @property
    def place(self) -> str:
        """The entry and its file."""
        return f"entry {self._source.entry} of file {secret_file(self._source.file)}"

    def read(self) -> str:
        """As Secret.

        Raises:
            SourceError: as Secret.
        """
        file, entry = self._source.file, self._source.entry
        path = secret_file(file)
        text = SecretFile(path).read()
        try:
            secret = entry_secret(text, path, entry, entry_kind(file, entry))
        except ConfigError as error:
            raise SourceError(
                "credential_unusable", str(error), permanent=True, remedy=f"mend {path}"
            ) from None
        if secret is None:
            raise unusable(path, f"holds no secret of {entry}")
        return secret

    def fingerprint(self) -> str:
        """Of both files: who we are and the secret may change together."""
        file = self._source.file
        return " ".join(SecretFile(path).fingerprint() for path in (file, secret_file(file)))


def credential(source: Source) -> Secret:
    """The secret of a source."""
    match source:
        case PasswordSource():
            return secret_of(source.password_file, source.password_command)
        case ApplicationCredentialSource():
            return secret_of(source.secret_file, source.secret_command)
        case ClientCredentialsSource():
            return secret_of(source.client_secret_file, source.client_secret_command)
        case RefreshTokenSource():
            return secret_of(source.refresh_token_file, source.refresh_token_command)
        case CloudsYamlSource():
            return EntrySecret(source)
