"""`lamplighter audit verify`, `heads`, `seal` and `prune`: verify the log, and drop old segments."""

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
from workers.audit.heads import export_head, read_lines, sign_head, stored_heads
from workers.audit.segments import Attribution, NotSealedError, Seal, seals
from workers.audit.signing import Trusted, load_signer, load_trusted, public_file
from workers.audit.verify import Heads, chain_of, rows

_Keys = tuple[Path, ...]
_keys = click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Trusted public key (PEM); default: the one beside audit.key_file.",
)


@click.command
@click.option(
    "--heads",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with signed heads that were kept elsewhere.",
)
@_keys
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding, then the totals.")
@pass_session
def verify(session: Session, /, *, files: _Keys, keys: _Keys, as_json: bool) -> None:
    """Find changed, removed or reordered records; exit with 1 if there are any.

    The log itself shows changes within it. A missing end, or a completely rewritten log, shows only
    by comparison with heads that were signed earlier: those in the store, and better those in
    --heads files kept elsewhere.
    """
    trusted = _trusted(session, keys)
    with session.reading("audit") as connection:
        chain = chain_of(connection, trusted)
        found = _follow(connection, chain, 0, hidden=as_json)
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
                "findings": len(found),
            }
        )
    else:
        _print_totals(chain, heads, len(found))
    sys.exit(1 if found else 0)


def _print_totals(chain: Chain, heads: Heads, findings: int) -> None:
    print_line(f"{chain.records} records; the last is {chain.seq}, hash {chain.hash.hex()}")
    dropped = f", {heads.dropped} are of dropped segments" if heads.dropped else ""
    print_line(f"{heads.held} signed heads match{dropped}")
    print_line(f"{findings} findings" if findings else "no findings")


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
        store = session.audit_store()
        head = sign_head(store, settings.cluster, signer, time.time_ns())
        store.dispose()
        if head is not None:
            export_head(settings.audit.heads_file, head)
    with session.reading("audit") as connection:
        for line in stored_heads(connection):
            click.echo(line)


@click.command
@_keys
@pass_session
def seal(session: Session, /, *, keys: _Keys) -> None:
    """Verify and seal the current segment of the log.

    Only sealed segments can be dropped by prune.
    """
    settings = session.settings
    signer = load_signer(settings.audit.key_file)
    with session.reading("audit") as connection:
        known = seals(connection)
        chain = chain_of(connection, _trusted(session, keys))
        found = _follow(connection, chain, known[-1].seq - 1 if known else 0, hidden=False)
    if found:
        for finding in found:
            print_line(finding.problem, style="red")
        raise click.ClickException("the segment was changed; it is not sealed")
    store = session.audit_store()
    try:
        made = segments.seal(store, signer, _attribution(session), chain)
    except NotSealedError as error:
        raise click.ClickException(str(error)) from None
    finally:
        store.dispose()
    print_line(f"segment {made.segment} is sealed: records {made.first} to {made.last}")


@click.command
@click.option(
    "--before",
    type=when,
    required=True,
    help="Drop segments older than this: a time, or how long ago (365d).",
)
@click.option("--reason", required=True, help="Reason, recorded in the audit.")
@click.option("--dry-run", is_flag=True, help="Show which segments would be dropped.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@_keys
@pass_session
def prune(  # noqa: PLR0913 - one per option
    session: Session, /, *, before: int, reason: str, dry_run: bool, yes: bool, keys: _Keys
) -> None:
    """Drop whole sealed segments; the rest of the log still verifies.

    Export the records first if you want to keep them.
    """
    with session.reading("audit") as connection:
        known = seals(connection)
        first = connection.execute(sa.text("SELECT min(seq) FROM audit")).scalar() or 0
    old = [one for one in known if one.last_time < before and one.last >= first]
    if not old:
        print_line("no sealed segment is older than that; see lamplighter audit seal")
        return
    _check(session, old, keys)
    for one in old:
        last_time = moment(one.last_time)
        print_line(f"segment {one.segment}: records {one.first} to {one.last}, {last_time}")
    if dry_run:
        return
    if not yes:
        click.confirm(f"Drop {len(old)} segments permanently?", abort=True, err=True)
    store = session.audit_store()
    count = segments.prune(store, old[-1], _attribution(session, reason))
    store.dispose()
    print_line(
        f"{count} records dropped; the log now begins with the seal of the last dropped segment"
    )


def _check(session: Session, old: list[Seal], keys: _Keys) -> None:
    """Check the seals of the segments to drop.

    Raises:
        click.ClickException: a seal is not signed with a trusted key.
    """
    trusted = _trusted(session, keys)
    for one in old:
        problem = trusted.problem(segments.SEALED, one.statement)
        if problem is not None:
            raise click.ClickException(f"the seal of segment {one.segment}: {problem}")


def _trusted(session: Session, keys: _Keys) -> Trusted:
    """The keys of --key; by default the public key beside audit.key_file, if it exists."""
    own = public_file(session.settings.audit.key_file)
    if not keys and not own.exists():
        click.echo(f"lamplighter: {own} does not exist: signatures cannot be checked", err=True)
        return Trusted([])
    return load_trusted(keys or (own,))


def _attribution(session: Session, reason: str = "") -> Attribution:
    return Attribution(session.settings.cluster, operator(), time.time_ns(), reason)


def _follow(connection: sa.Connection, chain: Chain, after: int, *, hidden: bool) -> list[Finding]:
    """Follow the chain to the end of the log, with a progress bar; returns the findings."""
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
