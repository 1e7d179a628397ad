"""What each error that the installed Nova can name means by our table of words."""

from __future__ import annotations

import ast

import pytest

from tests.testbed.openstack.packages import install
from workers.clouds.errors import cause_in

pytestmark = pytest.mark.openstack

# By Nova's name of the exception; all others mean nothing beyond their status.
MEANINGS = {
    "NoValidHost": "no_valid_host",
    "ComputeResourcesUnavailable": "no_valid_host",
    "NoMoreFixedIps": "no_addresses",
    "NetworkAmbiguous": "bad_template",
    "OverQuota": "quota",
    "TooManyInstances": "quota",
    "ImageQuotaExceeded": "quota",
    "FloatingIpLimitExceeded": "quota",
    "KeypairLimitExceeded": "quota",
    "SecurityGroupLimitExceeded": "quota",
    "PortLimitExceeded": "quota",
    "ServerGroupLimitExceeded": "quota",
    "GroupMemberLimitExceeded": "quota",
}


def test_no_error_of_nova_means_something_else() -> None:
    (source,) = install().venv.glob("lib/python3*/site-packages/nova/exception.py")
    messages = _messages(source.read_text(encoding="utf-8"))
    assert len(messages) > 400
    said = {name: cause.error for name, words in messages.items() if (cause := cause_in(words))}
    assert said == MEANINGS


def _messages(source: str) -> dict[str, str]:
    """The message of each exception class: `msg_fmt = _("...")`."""
    return {
        kind.name: ast.literal_eval(line.value.args[0])
        for kind in ast.parse(source).body
        if isinstance(kind, ast.ClassDef)
        for line in kind.body
        if isinstance(line, ast.Assign)
        and ast.unparse(line.targets[0]) == "msg_fmt"
        and isinstance(line.value, ast.Call)
    }
