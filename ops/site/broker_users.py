"""`lamplighter broker users`: the broker users of the roles, their passwords and permissions."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from ops.cli.session import Session, pass_session
from ops.cli.terminal import print_json, print_line, warn
from ops.site.held import HeldLogins, HeldPermission, HeldUser
from ops.site.management import ManagementApi
from producers.broker_settings import BrokerUsers, read_password
from producers.settings import ConfigError
from schemas.roles import Role
from workers.broker.definitions import commands, definitions, is_hash_of
from workers.broker.topology import topology
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.process.files import create_file
from workers.process.foreign import UnreadableError, read_json
from workers.process.programs import environment_of_root, problem_of, program_of_root, run_program

# rabbitmqctl starts an Erlang machine, and waits for its node.
_SECONDS = 120.0

admin_option = click.option(
    "--admin", metavar="NAME", help="Log in to the management API as this administrator."
)


@click.command
@click.option("--passwords", is_flag=True, help="Create the password files that are missing.")
@click.option("--definitions", "as_json", is_flag=True, help="Print definitions for RabbitMQ.")
@click.option("--apply", "applies", is_flag=True, help="Create users and permissions now.")
@admin_option
@pass_session
def users(
    session: Session, *, passwords: bool, as_json: bool, applies: bool, admin: str | None
) -> None:
    """Print the rabbitmqctl commands that create a user for each role, with its permissions.

    The definitions contain the topology too; with --admin, they are printed only if no other cluster on the
    broker has these users. --apply creates the missing password files, and uses
    rabbitmqctl on the broker's host as root, otherwise the management API with --admin. Then each
    password file must be readable for the processes of its role only.
    """
    settings = session.settings
    found = settings.broker.users
    if found is None:
        raise ConfigError(
            f'{settings.path}: broker.users: is missing: write [broker.users] and folder = "broker"'
        )
    if (passwords or applies) and not found.certificates:
        _create_passwords(found)
    wanted = topology(notify_keys=settings.notify_keys)
    vhost = settings.broker.vhost
    if as_json or applies:
        content = definitions(found, vhost, wanted, _passwords(found))
        if applies:
            _apply(settings, found, content, admin)
            print_line(f"{len(Role)} users and the topology are in virtual host {vhost}")
        else:
            _look_first(settings, found, admin)
            print_json(content)
    elif not passwords:
        for line in commands(found, vhost, wanted):
            print_line(line)


def login_of(admin: str | None) -> tuple[str, str] | None:
    """The administrator's login, with a password from the terminal or standard input."""
    if admin is None:
        return None
    if sys.stdin.isatty():
        return admin, click.prompt(f"password of {admin}", hide_input=True, err=True)
    return admin, sys.stdin.read().strip()


def _create_passwords(found: BrokerUsers) -> None:
    try:
        found.folder.mkdir(parents=True, exist_ok=True)
        for role in Role:
            _create_password(found.secret_file(role))
    except OSError as error:
        raise ConfigError(f"broker.users.folder: {error}; make it writable for this user") from None


def _create_password(path: Path) -> None:
    if not os.path.lexists(path):
        create_file(path, f"{secrets.token_urlsafe(32)}\n".encode())
        print_line(f"created {path}")


def _passwords(found: BrokerUsers) -> dict[Role, str]:
    if found.certificates:
        return {}
    missing = [file for role in Role if not os.path.lexists(file := found.secret_file(role))]
    if missing:
        raise ConfigError(f"{missing[0]}: is missing; run: lamplighter broker users --passwords")
    return {role: read_password(found.secret_file(role), "broker.users.folder") for role in Role}


def _apply(
    settings: Settings, users: BrokerUsers, content: dict[str, object], admin: str | None
) -> None:
    if admin is None and os.geteuid() == 0 and (program := program_of_root("rabbitmqctl")):
        environment = environment_of_root()
        # what it cannot tell, the import will
        with suppress(OSError, subprocess.SubprocessError, UnreadableError):
            argv = [program, "--quiet", "export_definitions", "-"]
            exported = run_program(argv, _SECONDS, environment)
            held = read_json(exported.stdout, HeldLogins)
            require_own(users, settings.broker.vhost, held)
        # Permissions for a topic that a former version had stay: topology check names them.
        # not from standard input, which versions name differently
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(content, file)
            file.flush()
            with suppress(LookupError):  # packages run rabbitmqctl as this user
                shutil.chown(file.name, "rabbitmq")
            argv = [program, "--quiet", "import_definitions", file.name]
            problem = problem_of(argv, _SECONDS, environment)
        if problem:
            raise BrokerError(f"rabbitmqctl import_definitions: {problem}")
        return
    if not settings.management_urls or admin is None:
        raise ConfigError(
            "--apply: run it as root on the broker's host, or set broker.management_url and --admin"
        )
    with ManagementApi(settings.broker, settings.management_urls, login_of(admin)) as management:
        require_own(users, settings.broker.vhost, _held(management))
        management.load(content)


def _look_first(settings: Settings, users: BrokerUsers, admin: str | None) -> None:
    """Check the users as `require_own`; without an administrator's login, say that nobody has."""
    if admin is None:
        warn(
            f"not checked: if another cluster on this broker has users {users.name(Role.HOOK)} and so on, the import "
            "replaces their passwords; rabbitmqctl list_users shows them, or add --admin NAME"
        )
        return
    if not settings.management_urls:
        raise ConfigError("--admin: set broker.management_url")
    with ManagementApi(settings.broker, settings.management_urls, login_of(admin)) as management:
        require_own(users, settings.broker.vhost, _held(management))


def _held(management: ManagementApi) -> HeldLogins:
    return HeldLogins(
        management.read("users", HeldUser), management.read("permissions", HeldPermission)
    )


def require_own(users: BrokerUsers, vhost: str, held: HeldLogins) -> None:
    """Check that the users are not those of another cluster on this broker, whose passwords would change."""
    hashes = {user.name: user.password_hash for user in held.users}
    for role, password in _passwords(users).items():
        name = users.name(role)
        elsewhere = {one.vhost for one in held.permissions if one.user == name} - {vhost}
        if elsewhere and not is_hash_of(hashes.get(name, ""), password):
            raise ConfigError(
                f"broker.users.prefix: the broker's user {name} belongs to virtual host "
                f"{', '.join(sorted(elsewhere))}, and has another password: if another cluster uses it, write a "
                f'prefix of your own, such as prefix = "lamplighter-{vhost}-"; if not, run: rabbitmqctl '
                f"delete_user {name}"
            )
