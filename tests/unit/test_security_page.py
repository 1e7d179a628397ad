"""The threat model's table says what the roles really may do."""

from __future__ import annotations

from pathlib import Path

from schemas.roles import Role
from workers.broker.roles import ANY, AUTHORITIES, may_say
from workers.broker.topology import COMMANDS, EVENTS, REQUEUE

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def cells(role: Role) -> tuple[str, str]:
    """What the role publishes, by exchange, and what it reads, as the page writes it."""
    authority = AUTHORITIES[role]
    said = [
        f"`{exchange}`" + ("" if ANY in keys else f": {', '.join(f'`{k}`' for k in sorted(keys))}")
        for exchange, keys in sorted(authority.says.items())
    ]
    read = [f"`{queue}`" for queue in authority.reads]
    if authority.asks:
        read.append("its replies")
    return "; ".join(said) or "nothing", ", ".join(read) or "nothing"


def test_the_table_of_stolen_credentials_follows_from_the_roles() -> None:
    rows = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| **"):
            name, said, read, consequence = (cell.strip() for cell in line.strip("|").split("|"))
            rows[name.strip("*")] = said, read
            assert consequence
    assert rows == {str(role): cells(role) for role in Role}


def test_what_the_page_promises_in_words_follows_from_the_roles_too() -> None:
    """Who can delete servers, end requests, get tokens, and configure the broker."""

    def who(exchange: str, key: str) -> set[Role]:
        return {role for role in Role if may_say(role, exchange, key)}

    for key in ("node.retire.requested", "node.deploy.requested", "node.bake.requested"):
        assert who(COMMANDS, key) | who(REQUEUE, key) == {Role.OPERATOR}
    assert who(EVENTS, "node.request.completed") == {Role.POWER}
    assert who(EVENTS, "node.request.discarded") == {Role.OPERATOR, Role.CONSOLE}
    assert who("slurm.snapshots", "slurm.snapshot.taken") == {Role.SNAPSHOT}
    assert {r for r, a in AUTHORITIES.items() if a.fetches} == {Role.POWER, Role.OPERATOR}
    assert {r for r, a in AUTHORITIES.items() if a.configures} == {Role.SETUP}
    assert not [role for role in Role if may_say(role, "", "power.suspend")]
