"""What Nova alone looks up of a template is checked: rather not at all than wrongly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ops.doctor.clouds import CloudView, of_cloud
from ops.site.findings import Severity
from tests.unit.test_doctor import ALL
from tests.unit.test_doctor_settings import settings
from workers.clouds.errors import BadTemplateError, CloudError
from workers.clouds.template_check import PartProblem, part_problems
from workers.config.groups import ServerTemplate

if TYPE_CHECKING:
    from pathlib import Path

    from workers.clouds.names import Query

ONE, TWO = "85cc3048-abc3-43cc-89b3-377341426ac5", "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9"
FIELDS = ["key_name", "security_groups", "availability_zone", "server_group"]


def zone(name: str, *, available: bool) -> dict[str, object]:
    return {"zoneName": name, "zoneState": {"available": available}, "hosts": None}


class Cloud:
    """Answers as Nova and Neutron do."""

    def __init__(self, groups: dict[str, str]) -> None:
        self.groups = groups
        self.asked: list[Query] = []

    def __call__(self, service: str, path: str, query: Query) -> bytes:
        del service
        if path == "/security-groups":
            self.asked.append(query)
            wanted = {k: v for k, v in query.items() if k != "tenant_id"}
            listed = [{"id": i, "name": n} for i, n in self.groups.items()]
            found = [one for one in listed if wanted.items() <= one.items()]
            return json.dumps({"security_groups": found}).encode()
        content = {
            "/os-keypairs": {"keypairs": [{"keypair": {"name": "operator"}}]},
            "/os-availability-zone": {
                "availabilityZoneInfo": [
                    zone("nova", available=True),
                    zone("down", available=False),
                ]
            },
            "/os-server-groups": {"server_groups": [{"id": ONE, "name": "apart"}]},
        }
        return json.dumps(content[path]).encode()


def problems(cloud: Cloud, **fields: object) -> list[PartProblem]:
    template = ServerTemplate(image="i", flavor="f", **fields)  # type: ignore[arg-type]
    return list(part_problems(template, cloud, lambda: "p"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, None),
        ({"key_name": "operator"}, None),
        ({"key_name": "Operator"}, None),
        ({"key_name": "operatr"}, "no key pair operatr; it has operator"),
        ({"availability_zone": "nova"}, None),
        ({"availability_zone": "nova:host1"}, None),
        ({"availability_zone": ":host1"}, None),
        ({"availability_zone": "down"}, "no availability zone down in service; it has nova"),
        ({"server_group": ONE}, None),
        ({"server_group": "apart"}, f"no server group with the id apart; it has {ONE} (apart)"),
        ({"security_groups": ("default",)}, None),
        ({"security_groups": ("nodes", ONE)}, None),
        ({"security_groups": ("nods",)}, "no security group nods"),
        ({"security_groups": (ONE.replace("8", "9"),)}, "no security group 9"),
    ],
)
def test_a_typo_is_named(fields: dict[str, object], words: str | None) -> None:
    found = problems(Cloud({ONE: "nodes"}), **fields)
    assert all(one.is_known for one in found)
    assert [words in one.words for one in found] == ([True] if words else []), found  # type: ignore[operator]


def test_two_security_groups_of_one_name_are_named_with_their_ids() -> None:
    cloud = Cloud({ONE: "nodes", TWO: "nodes"})
    (found,) = problems(cloud, security_groups=("nodes",))
    assert ONE in found.words
    assert TWO in found.words
    assert cloud.asked == [{"name": "nodes", "tenant_id": "p"}]
    assert problems(cloud, security_groups=(ONE,)) == []


@pytest.mark.parametrize(
    "error",
    [CloudError(403, "Policy does not allow it"), CloudError(404, "?"), CloudError(None, "gone")],
)
@pytest.mark.parametrize("text", [None, "[]", "no JSON"])
def test_what_the_cloud_does_not_show_is_not_checked(
    run_dir: Path, error: CloudError, text: str | None
) -> None:
    def ask(service: str, path: str, query: Query) -> bytes:
        del path, query
        if text is not None:
            return text.encode()
        raise error if service == "compute" else BadTemplateError("no network service")

    template = ServerTemplate(
        image="i",
        flavor="f",
        key_name="k",
        security_groups=("a", "b"),
        availability_zone="z",
        server_group=ONE,
    )
    found = list(part_problems(template, ask, lambda: None))
    assert list(dict.fromkeys(one.field for one in found)) == FIELDS
    assert not any(one.is_known for one in found)
    shown = list(of_cloud("c", settings(run_dir, ""), CloudView(ALL, parts={"g": found})))
    assert [one.severity for one in shown] == [Severity.NOTE] * 4
    assert all("was not checked: " in one.words for one in shown)


def test_the_finding_names_the_line_to_change(run_dir: Path) -> None:
    part = PartProblem("key_name", "no key pair x")
    (found,) = of_cloud("c", settings(run_dir, ""), CloudView(ALL, parts={"g": [part]}))
    assert (found.kind, found.severity) == ("template", Severity.WRONG)
    assert found.words == "groups.g.server.key_name: no key pair x"
    assert found.remedy == "correct key_name in [groups.g.server] in lamplighter.toml"
