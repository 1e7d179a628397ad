"""`lamplighter audit verify`, `heads`, `seal` and `prune`: is the log whole, and what of it may go."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import sqlalchemy as sa

from ops.cli.options import when
from ops.cli.progress import counted
from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import moment, print_json, print_line
from workers.audit import segments
from workers.audit.chain import Chain, Finding
from workers.audit.heads import export_head, kept_heads, lines_of, sign_head
from workers.audit.segments import Deed, NotSealedError, Seal, seals
from workers.audit.signing import Trusted, load_signer, load_trusted, public_file
from workers.audit.verify import Heads, chain_of, rows

_Keys = tuple[Path, ...]
_keys = click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A public key (PEM) whose signatures count; default: beside audit.key_file.",
)


@click.command
@click.option(
    "--heads",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Signed heads that were kept elsewhere.",
)
@_keys
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding, then the sums.")
@pass_session
def verify(session: Session, /, *, files: _Keys, keys: _Keys, as_json: bool) -> None:
    """Find every record that was altered, removed or reordered; exit 1 if there is one.

    The log alone shows what was changed within it. That its end is missing, or that all of it was
    made anew, shows by heads that were signed earlier: those of the store, and better of --heads.
    """
    trusted = _trusted(session, keys)
    with session.reading("audit") as connection:
        chain = chain_of(connection, trusted)
        found = _follow(connection, chain, 0, hidden=as_json)
        heads = Heads(connection, trusted)
        found += heads.compare(kept_heads(connection), "the store")
        for file in files:
            found += heads.compare(lines_of(file), str(file))
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
                "findings": len(found),
            }
        )
    else:
        _print_sums(chain, heads, len(found))
    sys.exit(1 if found else 0)


def _print_sums(chain: Chain, heads: Heads, findings: int) -> None:
    print_line(f"{chain.records} records, the last is {chain.seq}: {chain.hash.hex()}")
    dropped = f", {heads.dropped} of dropped segments" if heads.dropped else ""
    print_line(f"{heads.held} signed heads hold{dropped}")
    print_line(f"{findings} findings" if findings else "nothing is wrong with them")


@click.command
@click.option("--sign", is_flag=True, help="Sign the head as it is now first; needs the key.")
@pass_session
def heads(session: Session, *, sign: bool) -> None:
    """Print all signed heads that the store keeps, one JSON object a line: keep them elsewhere."""
    if sign:
        settings = session.settings
        signer = load_signer(settings.audit.key_file)
        store = session.audit_store()
        head = sign_head(store, settings.cluster, signer, time.time_ns())
        store.dispose()
        if head is not None:
            export_head(settings.audit.heads_file, head)
    with session.reading("audit") as connection:
        for line in kept_heads(connection):
            click.echo(line)


@click.command
@_keys
@pass_session
def seal(session: Session, /, *, keys: _Keys) -> None:
    """End a segment of the log, after verifying it: it may be dropped as a whole one day."""
    settings = session.settings
    signer = load_signer(settings.audit.key_file)
    with session.reading("audit") as connection:
        known = seals(connection)
        chain = chain_of(connection, _trusted(session, keys))
        found = _follow(connection, chain, known[-1].seq - 1 if known else 0, hidden=False)
    if found:
        for finding in found:
            print_line(finding.problem, style="red")
        raise click.ClickException("the segment is not as it was written, and is not sealed")
    store = session.audit_store()
    try:
        made = segments.seal(store, signer, _deed(session), chain)
    except NotSealedError as error:
        raise click.ClickException(str(error)) from None
    finally:
        store.dispose()
    print_line(f"segment {made.segment} is sealed: records {made.first} to {made.last}")


@click.command
@click.option("--before", type=when, required=True, help="Of which all is older: a time, or 365d.")
@click.option("--reason", required=True, help="Why; kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_keys
@pass_session
def prune(  # noqa: PLR0913 - one per option
    session: Session, /, *, before: int, reason: str, dry_run: bool, yes: bool, keys: _Keys
) -> None:
    """Drop whole sealed segments; what follows still verifies. Export them first."""
    with session.reading("audit") as connection:
        known = seals(connection)
        first = connection.execute(sa.text("SELECT min(seq) FROM audit")).scalar() or 0
    old = [x for x in known if x.last_time < before and x.last >= first]
    if not old:
        print_line("no sealed segment is all older than that; see lamplighter audit seal")
        return
    _check(session, old, keys)
    for x in old:
        print_line(f"segment {x.segment}: records {x.first} to {x.last}, {moment(x.last_time)}")
    if dry_run:
        return
    if not yes:
        click.confirm(f"drop {len(old)} segments for good?", abort=True, err=True)
    store = session.audit_store()
    count = segments.prune(store, old[-1], _deed(session, reason))
    store.dispose()
    print_line(f"{count} records are gone; the log begins with the seal of what they were")


def _check(session: Session, old: list[Seal], keys: _Keys) -> None:
    """Nothing is dropped for which the seal does not vouch.

    Raises:
        click.ClickException: a seal is not ours.
    """
    trusted = _trusted(session, keys)
    for x in old:
        problem = trusted.problem(segments.SEALED, x.statement)
        if problem is not None:
            raise click.ClickException(f"the seal of segment {x.segment}: {problem}")


def _trusted(session: Session, keys: _Keys) -> Trusted:
    """The keys that were given; without any our own, if there is one yet."""
    own = public_file(session.settings.audit.key_file)
    if not keys and not own.exists():
        click.echo(f"lamplighter: there is no {own}: no signature can be checked", err=True)
        return Trusted([])
    return load_trusted(keys or (own,))


def _deed(session: Session, reason: str = "") -> Deed:
    return Deed(session.settings.cluster, operator(), time.time_ns(), reason)


def _follow(connection: sa.Connection, chain: Chain, after: int, *, hidden: bool) -> list[Finding]:
    """Follow the chain to the log's end, with a bar; the findings."""
    total = connection.execute(
        sa.text("SELECT count(*) FROM audit WHERE seq > :after"), {"after": after}
    ).scalar_one()
    found: list[Finding] = []

    def portions() -> Iterator[tuple[int, int]]:
        for portion in rows(connection, after):
            found.extend(chain.follow(portion))
            yield total, len(portion)

    for _ in counted(portions(), "records", hidden=hidden, weight=lambda count: count):
        pass
    return found
