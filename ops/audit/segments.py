"""`lamplighter audit seal` and `prune`: seal segments of the log, and drop old ones."""

import time

import click
import sqlalchemy as sa

from ops.audit.chain import Keys, follow, key_option, trusted_keys
from ops.cli.options import confirm, required_reason_option, when, yes_option
from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import duration_of, moment, plural, print_line
from workers.audit import segments
from workers.audit.segments import Attribution, NotSealedError, seals
from workers.audit.signing import load_signer
from workers.audit.verify import chain_of


@click.command
@key_option
@pass_session
def seal(session: Session, /, *, keys: Keys) -> None:
    """Verify and seal the current segment of the log.

    Only sealed segments can be dropped by prune.
    """
    settings = session.settings
    signer = load_signer(settings.audit.key_file)
    with session.reading("audit") as connection:
        known = seals(connection)
        chain = chain_of(connection, trusted_keys(session, keys))
        found = follow(connection, chain, known[-1].seq - 1 if known else 0, hidden=False)
    if found:
        for finding in found:
            print_line(finding.problem, style="red")
        raise click.ClickException("the segment was changed; it is not sealed")
    try:
        with session.store("audit") as store:
            made = segments.seal(store, signer, _attribution(session), chain)
    except NotSealedError as error:
        raise click.ClickException(str(error)) from None
    print_line(f"segment {made.segment} is sealed: records {made.first} to {made.last}")


@click.command
@click.option(
    "--before",
    type=when,
    help="Drop segments older than this: a time, or how long ago (365d). Default: audit.keep.",
)
@required_reason_option
@click.option("--dry-run", is_flag=True, help="Show which segments would be dropped.")
@yes_option
@key_option
@pass_session
def prune(  # noqa: PLR0913 - one per option
    session: Session, /, *, before: int | None, reason: str, dry_run: bool, yes: bool, keys: Keys
) -> None:
    """Drop whole sealed segments; the rest of the log still verifies.

    Export the records first if you want to keep them. Records younger than audit.keep (180 days) stay.
    A signed record says who dropped what, and verify reads it.
    """
    audit_settings = session.settings.audit
    kept_from = time.time_ns() - int(audit_settings.keep * 1_000_000_000)
    if before is None:
        before = kept_from
    elif before > kept_from:
        raise click.BadParameter(
            f"records younger than {duration_of(audit_settings.keep)} are kept: choose an earlier "
            "time, or change audit.keep",
            param_hint="--before",
        )
    with session.reading("audit") as connection:
        known = seals(connection)
        first = connection.execute(sa.text("SELECT min(seq) FROM audit")).scalar() or 0
    old = [one for one in known if one.last_time < before and one.last >= first]
    if not old:
        print_line("no sealed segment is older than that; see lamplighter audit seal")
        return
    trusted = trusted_keys(session, keys)
    for one in old:
        if (problem := trusted.problem(segments.SEALED, one.statement)) is not None:
            raise click.ClickException(f"the seal of segment {one.segment}: {problem}")
    for one in old:
        last_time = moment(one.last_time)
        print_line(f"segment {one.segment}: records {one.first} to {one.last}, {last_time}")
    if dry_run:
        return
    confirm(f"Drop {plural(len(old), 'segment')} permanently", yes=yes)
    signer = load_signer(audit_settings.key_file)
    with session.store("audit") as store:
        count = segments.prune(store, signer, old[-1], _attribution(session, reason))
    print_line(
        f"{plural(count, 'record')} dropped; the log now begins with the seal of the last dropped segment"
    )


def _attribution(session: Session, reason: str = "") -> Attribution:
    return Attribution(session.settings.cluster, operator(), time.time_ns(), reason)
