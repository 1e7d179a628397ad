"""Checks the roles' logins at the broker, and their permissions, as far as this user may."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ops.cli.session import Session
from ops.doctor.host import wrong
from ops.site.findings import Finding, Severity
from ops.site.topology_check import user_differences
from producers.addresses import is_loopback
from producers.settings import ConfigError
from schemas.roles import Role
from workers.broker.blocking import blocking_channel
from workers.broker.topology import topology
from workers.errors import BrokerError, BrokerLoginError
from workers.process.programs import run_program

_APPLY = "lamplighter broker users --apply"
_SECONDS = 20.0
_LISTS = {
    "users": "list_users",
    "vhosts/{vhost}/permissions": "list_permissions",
    "vhosts/{vhost}/topic-permissions": "list_topic_permissions",
}


class _Rabbitmqctl:
    """What the management API shows an administrator, as root on the broker's host.

    Args:
        program: rabbitmqctl.
        vhost: the virtual host.
    """

    def __init__(self, program: str, vhost: str) -> None:
        self._program, self._vhost = program, vhost

    def read(self, path: str) -> list[dict[str, Any]]:
        """A list of objects; subprocess.SubprocessError, OSError or ValueError if there is none."""
        of_vhost = ("--vhost", self._vhost) if "{vhost}" in path else ()
        argv = (self._program, "--quiet", _LISTS[path], *of_vhost, "--formatter", "json")
        done = run_program(argv, _SECONDS)
        done.check_returncode()
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return [{"name": one.get("user"), **one} for one in found]


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
            yield wrong("role_login", f"the role {role} cannot log in: {error}", _APPLY)
        except BrokerLoginError as error:
            yield wrong("role_login", f"the broker refuses the role {role}: {error}", _APPLY)
        except BrokerError:
            return  # away: the broker's own finding


def of_permissions(session: Session) -> Iterator[Finding]:
    """Whether each role has its permissions; only root on the broker's host can see it without more."""
    broker = session.settings.broker
    program = shutil.which("rabbitmqctl")
    here = all(is_loopback(urlsplit(url).hostname or "") for url in broker.urls)
    if broker.users is None:
        return
    if os.geteuid() != 0 or program is None or not here:
        words = "the roles' permissions at the broker were not compared"
        remedy = "run this as root on its host, or lamplighter topology check --admin USER"
        yield Finding(Severity.NOTE, "permissions_unknown", words, remedy)
        return
    wanted = topology(notify_keys=session.settings.notify_keys)
    try:
        for line in user_differences(_Rabbitmqctl(program, broker.vhost), broker.users, wanted):
            yield wrong("permissions", line.partition(";")[0], _APPLY)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        words = f"the roles' permissions were not compared: rabbitmqctl: {type(error).__name__}"
        yield Finding(Severity.NOTE, "permissions_unknown", words)
