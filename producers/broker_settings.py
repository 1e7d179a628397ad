"""How to reach RabbitMQ: its addresses, and the user with which each role logs in."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from producers.addresses import is_loopback
from producers.disk import user_name
from producers.trust import VARIABLE, UntrustedFileError, read_trusted, shown_file
from schemas.roles import Role

_ROLES = {str(role): role for role in Role}


class ConfigError(Exception):
    """The configuration cannot be used; the text names file, field and remedy."""


@dataclass(frozen=True, slots=True)
class BrokerUsers:
    """A broker user for each role.

    Attributes:
        folder: folder of each role's ROLE.password, or ROLE.crt and ROLE.key.
        prefix: what the users' names have before the role.
        certificates: whether the roles log in with certificates (EXTERNAL) instead of passwords.
    """

    folder: Path
    prefix: str = "lamplighter-"
    certificates: bool = False

    def name(self, role: Role) -> str:
        """The role's broker user."""
        return f"{self.prefix}{role}"

    def role(self, name: str | None) -> Role | None:
        """The role of a broker user; None if it has none."""
        if name is None or not name.startswith(self.prefix):
            return None
        return _ROLES.get(name[len(self.prefix) :])

    def secret_file(self, role: Role) -> Path:
        """The file that the role logs in with: its password, or its certificate's key.

        A service that systemd passes a credential of this name uses that one.
        """
        name = f"{role}.{'key' if self.certificates else 'password'}"
        passed = Path(os.environ.get(VARIABLE, "")) / name
        return passed if VARIABLE in os.environ and passed.exists() else self.folder / name


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """How to reach RabbitMQ.

    Attributes:
        urls: one for each node of the cluster: amqp:// or amqps://, with the virtual host, and with the
            user if it is one for all roles; these are the same in all.
        password_file: the file with this user's password; None if each role has a user of its own.
        ca_file: the certificate authority for amqps; None for the system's.
        cert_file, key_file: our own certificate and its key, PEM, for a broker that wants one.
        users: the roles' users; None if one user serves all roles.
        role: of this process.
        insecure: whether amqp:// and http:// are allowed to other hosts, too.
    """

    urls: tuple[str, ...]
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    users: BrokerUsers | None = None
    role: Role = Role.HOOK
    insecure: bool = False

    @property
    def field(self) -> str:
        """The setting with the addresses, for remedies."""
        return "broker.url" if len(self.urls) == 1 else "broker.urls"

    @property
    def user(self) -> str:
        """The broker user of this process."""
        if self.users is not None:
            return self.users.name(self.role)
        return unquote(urlsplit(self.urls[0]).username or "")

    @property
    def vhost(self) -> str:
        """The virtual host."""
        return unquote(urlsplit(self.urls[0]).path[1:]) or "/"

    def full_urls(self) -> list[str]:
        """The URLs with the password as its file contains it now; never log them.

        Raises:
            ConfigError: the password is missing, or its file cannot be read; or one user is to serve
                all roles at a broker on another host.
        """
        if self.users is None:
            self._check_hosts()
        elif self.users.certificates:
            return list(self.urls)
        field, file = self.password_source
        if not self.user:
            raise ConfigError(
                f"{self.field}: names no user: write [broker.users], or amqp://USER@..."
            )
        if file is None:
            for url in self.urls:
                if urlsplit(url).password is None:
                    raise ConfigError(f'{field}: is missing: write password_file = "..."')
            return list(self.urls)
        login = f"{quote(self.user, safe='')}:{quote(read_password(file, field), safe='')}"
        return [_with_login(url, login) for url in self.urls]

    def _check_hosts(self) -> None:
        for url in self.urls:
            host = urlsplit(url).hostname or ""
            if not is_loopback(host):
                raise ConfigError(
                    f"{self.field}: {host} is another host; one user for all roles is allowed on "
                    "loopback only; write [broker.users] and run: lamplighter broker users"
                )

    @property
    def password_source(self) -> tuple[str, Path | None]:
        """The setting and the file with the secret that this process logs in with."""
        if self.users is not None:
            return "broker.users.folder", self.users.secret_file(self.role)
        return "broker.password_file", self.password_file

    @property
    def certificate(self) -> tuple[str, Path, Path] | None:
        """The setting, our certificate and its key; None if the broker wants none."""
        if self.users is not None and self.users.certificates:
            key = self.users.secret_file(self.role)
            return "broker.users", key.with_suffix(".crt"), key
        if self.cert_file is None or self.key_file is None:
            return None
        return "broker.cert_file", self.cert_file, self.key_file

    @property
    def shown(self) -> str:
        """The URLs without user and password, for operators; works for malformed URLs too."""
        parts = [url.partition("://") for url in self.urls]
        return ", ".join(f"{scheme}://{rest.rpartition('@')[2]}" for scheme, _, rest in parts)


def _with_login(url: str, login: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()


def read_password(file: Path, field: str) -> str:
    """The password in a role's file.

    Raises:
        ConfigError: the file cannot be read or trusted, or is empty; it names `field`.
    """
    try:
        password = read_trusted(file, private=True).strip()
    except UntrustedFileError as error:
        raise ConfigError(f"{field}: {error}") from None
    except OSError as error:
        raise ConfigError(
            f"{field}: {error.strerror}: {shown_file(file)}; write the password "
            f"into it, and make it readable for user {user_name()} alone"
        ) from None
    except UnicodeDecodeError:
        # The error's text would quote the password.
        raise ConfigError(
            f"{field}: {file} is not UTF-8 text; write the password into it"
        ) from None
    if not password:
        raise ConfigError(f"{field}: {file} is empty; write the password into it")
    return password
