"""The certificate authorities that requests to foreign services trust."""

import os
import ssl
from pathlib import Path

from producers.disk import user_name
from producers.reasons import AuthoritiesError
from producers.trust import UntrustedFileError, require_trusted

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def trusted(ca_file: Path | None) -> str | bool:
    """For requests' `verify`: this file of authorities alone, else the system's store.

    $REQUESTS_CA_BUNDLE, $SSL_CERT_FILE or $SSL_CERT_DIR replace the system's store; without a store,
    the authorities that come with requests are trusted.
    """
    if ca_file is not None:
        return str(ca_file)
    if any(map(os.environ.get, _BUNDLES)):
        return True  # requests reads the variable
    system = ssl.get_default_verify_paths()
    if system.cafile:
        return system.cafile
    if system.capath and any(Path(system.capath).iterdir()):
        return system.capath
    return True


class AuthorityFile:
    """A file of authorities, or a folder of them: checked before each use, read again when it changes.

    It may go, or become another one, while a process runs: that must end no more than the requests
    that need it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._checked: tuple[int, ...] = ()

    def require(self) -> None:
        """Check the file; AuthoritiesError if it cannot be used now."""
        try:
            status = self._path.stat()
            seen = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            if seen == self._checked:
                return
            require_trusted(self._path)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if self._path.is_dir():
                context.load_verify_locations(capath=str(self._path))
            else:
                context.load_verify_locations(cafile=str(self._path))
        except UntrustedFileError as error:
            raise AuthoritiesError(str(error)) from None
        except ssl.SSLError:
            problem = "holds no certificate that can be read; name a file of PEM certificates"
            raise AuthoritiesError(f"{self._path} {problem}") from None
        except OSError as error:
            remedy = "name a file of PEM certificates"
            if isinstance(error, PermissionError):
                remedy = f"let user {user_name()} read it, and enter its folders"
            raise AuthoritiesError(
                f"{self._path} cannot be read: {error.strerror}; {remedy}"
            ) from None
        self._checked = seen
