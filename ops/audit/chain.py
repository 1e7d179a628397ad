"""`lamplighter audit verify` and `heads`: verify the log, and print its signed heads."""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import sqlalchemy as sa

from ops.cli.options import json_option
from ops.cli.progress import with_progress
from ops.cli.session import Session, pass_session
from ops.cli.terminal import plural, print_json, print_line, warn
from producers.disk import may_exist
from workers.audit.chain import Chain, ChainProblem
from workers.audit.heads import export_head, read_lines, sign_head, stored_heads
from workers.audit.signing import Trusted, load_signer, load_trusted, public_file
from workers.audit.verify import Heads, chain_of, dropping, rows

Keys = tuple[Path, ...]
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
key_option = click.option(
    "--key",
    "keys",
    multiple=True,
    type=_FILE,
    help="Trusted public key (PEM); default: the one beside audit.key_file.",
)


@click.command
@click.option(
    "--heads",
    "files",
    multiple=True,
    type=_FILE,
    help="File with signed heads that were kept elsewhere.",
)
@key_option
@json_option("finding, then the totals")
@pass_session
def verify(session: Session, /, *, files: Keys, keys: Keys, as_json: bool) -> None:
    """Find changed, removed or reordered records; exit with 1 if there are any.

    The log itself shows changes within it. A missing end, or a completely rewritten log, shows only
    by comparison with heads that were signed earlier: those in the store, and better those in
    --heads files kept elsewhere.
    """
    trusted = trusted_keys(session, keys)
    with session.reading("audit", unchanged=True) as connection:
        chain = chain_of(connection, trusted)
        found = follow(connection, chain, 0, hidden=as_json)
        dropped, wrong = dropping(connection, trusted)
        found += wrong
        heads = Heads(connection, trusted)
        found += heads.compare(stored_heads(connection), "the store")
        for file in files:
            found += heads.compare(read_lines(file), str(file))
    for finding in found:
        if as_json:
            print_json({"seq": finding.seq, "id": finding.id, "problem": finding.problem})
        else:
            print_line(finding.problem, style="red")
    if as_json:
        print_json(
            {
                "records": chain.records,
                "first": chain.first,
                "last": chain.seq,
                "hash": chain.hash.hex(),
                "heads_held": heads.held,
                "heads_dropped": heads.dropped,
                "dropped": dropped,
                "findings": len(found),
            }
        )
    else:
        print_line(f"{chain.records} records; the last is {chain.seq}, hash {chain.hash.hex()}")
        if dropped is not None:
            print_line(dropped)
        of_dropped = f", {heads.dropped} are of dropped segments" if heads.dropped else ""
        print_line(f"{heads.held} signed heads match{of_dropped}")
        print_line(plural(len(found), "finding") if found else "no findings")
    sys.exit(1 if found else 0)


@click.command
@click.option("--sign", is_flag=True, help="Sign the current head first; needs the private key.")
@pass_session
def heads(session: Session, *, sign: bool) -> None:
    """Print the signed heads in the store, one JSON object a line.

    Keep them on another host, for verify --heads.
    """
    if sign:
        settings = session.settings
        signer = load_signer(settings.audit.key_file)
        with session.store("audit") as store:
            head = sign_head(store, settings.cluster, signer, time.time_ns())
        if head is not None:
            export_head(settings.audit.heads_file, head)
    with session.reading("audit") as connection:
        lines = list(stored_heads(connection))
    for line in lines:
        click.echo(line)
    if not lines:
        warn("no head is signed yet; --sign signs one if there are records")


def trusted_keys(session: Session, keys: Keys) -> Trusted:
    """The keys of --key; by default the public key beside audit.key_file, if it exists."""
    if keys:
        return load_trusted(keys)
    own = public_file(session.settings.audit.key_file)
    if not may_exist(own):
        click.echo(f"lamplighter: {own} does not exist: signatures cannot be checked", err=True)
        return Trusted([])
    owner = 0
    with suppress(OSError):  # the audit worker's user, who made both
        owner = session.settings.audit.key_file.stat().st_uid
    return load_trusted([own], owner)


def follow(
    connection: sa.Connection, chain: Chain, after: int, *, hidden: bool
) -> list[ChainProblem]:
    """Follow the chain to the end of the log, with a progress bar; returns the findings."""
    total = connection.execute(
        sa.text("SELECT count(*) FROM audit WHERE seq > :after"), {"after": after}
    ).scalar_one()
    found: list[ChainProblem] = []

    def portions() -> Iterator[tuple[int, int]]:
        for portion in rows(connection, after):
            found.extend(chain.follow(portion))
            yield total, len(portion)

    for _ in with_progress(portions(), "records", hidden=hidden, weight=lambda count: count):
        pass
    return found
