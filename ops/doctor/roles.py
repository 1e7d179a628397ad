"""Checks the roles' logins at the broker, and their permissions, as far as this user may."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ops.cli.session import Session
from ops.doctor.parts import of_differences
from ops.site.findings import Finding, note, wrong
from ops.site.held import Held
from ops.site.kinds import Kind
from ops.site.topology_check import binding_differences, user_differences
from producers.addresses import is_loopback
from producers.settings import ConfigError
from schemas.roles import Role
from workers.broker.blocking import blocking_channel
from workers.broker.topology import topology
from workers.errors import BrokerError, BrokerLoginError
from workers.process.foreign import UnreadableError, read_json
from workers.process.programs import environment_of_root, program_of_root, run_program

_APPLY = "lamplighter broker users --apply"
_SECONDS = 20.0
_LISTS: Mapping[str, tuple[str, ...]] = {
    "users": ("list_users",),
    "vhosts/{vhost}/permissions": ("list_permissions",),
    "vhosts/{vhost}/topic-permissions": ("list_topic_permissions",),
    "bindings/{vhost}": ("list_bindings", "source_name", "destination_name", "routing_key"),
}
# rabbitmqctl's names, in place of the API's
_NAMES = (("name", "user"), ("source", "source_name"), ("destination", "destination_name"))


class _Rabbitmqctl:
    """What the management API shows an administrator, as root on the broker's host."""

    def __init__(self, program: str, vhost: str) -> None:
        self._program, self._vhost = program, vhost

    def read(self, path: str, shape: type[Held]) -> list[Held]:
        """The things in a list; subprocess.SubprocessError, OSError or UnreadableError if there is none."""
        of_vhost = ("--vhost", self._vhost) if "{vhost}" in path else ()
        argv = (self._program, "--quiet", *_LISTS[path], *of_vhost, "--formatter", "json")
        done = run_program(argv, _SECONDS, environment_of_root())
        done.check_returncode()
        listed = read_json(done.stdout, list[dict[str, Any]])
        named = json.dumps([{api: one.get(its) for api, its in _NAMES} | one for one in listed])
        return read_json(named.encode(), list[shape])  # type: ignore[valid-type]  # its class


def of_role_logins(session: Session) -> Iterator[Finding]:
    """Whether the broker accepts each role whose secret this user can read; one connection each."""
    users = session.settings.broker.users
    for role in Role if users is not None else ():
        if users is None or not os.access(users.secret_file(role), os.R_OK):
            continue
        try:
            with blocking_channel(session.of_role(role).broker):
                pass
        except ConfigError as error:
            yield wrong(Kind.ROLE_LOGIN, f"the role {role} cannot log in: {error}", _APPLY)
        except BrokerLoginError as error:
            yield wrong(Kind.ROLE_LOGIN, f"the broker refuses the role {role}: {error}", _APPLY)
        except BrokerError:
            return  # away: the broker's own finding


def of_permissions(session: Session) -> Iterator[Finding]:
    """Whether each role has its permissions, and each queue its bindings, such as those for a new webhook.

    Only root on the broker's host can see it without more.
    """
    broker = session.settings.broker
    program = program_of_root("rabbitmqctl")
    here = all(is_loopback(urlsplit(url).hostname or "") for url in broker.urls)
    if broker.users is None:
        return
    if os.geteuid() != 0 or program is None or not here:
        words = "the roles' permissions at the broker were not compared"
        remedy = "run this as root on its host, or lamplighter topology check --admin USER"
        yield note(Kind.PERMISSIONS_UNKNOWN, words, remedy)
        return
    wanted = topology(notify_keys=session.settings.notify_keys)
    try:
        seen = _Rabbitmqctl(program, broker.vhost)
        for line in user_differences(seen, broker.users, wanted):
            yield wrong(Kind.PERMISSIONS, line.partition(";")[0], _APPLY)
        if not session.settings.management_urls:  # which shows them, too
            yield from of_differences(list(binding_differences(seen, wanted)))
    except (OSError, subprocess.SubprocessError, UnreadableError) as error:
        words = f"the roles' permissions were not compared: rabbitmqctl: {type(error).__name__}"
        remedy = "rabbitmqctl list_users says why, or lamplighter topology check --admin USER"
        yield note(Kind.PERMISSIONS_UNKNOWN, words, remedy)
