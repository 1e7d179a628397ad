"""`lamplighter snapshot`: a snapshot of Slurm's node states now, without waiting for the interval."""

import click

from ops.cli.session import Session, pass_session
from ops.cli.terminal import print_line
from schemas.roles import Role


@click.command
@pass_session
def snapshot(session: Session) -> None:
    """Take a snapshot of Slurm's node states now.

    Run it on the host of slurmctld, as SlurmUser.
    """
    from workers.slurm.commands import SlurmAwayError  # noqa: PLC0415 - few commands need it
    from workers.slurm.scontrol import Slurm  # noqa: PLC0415
    from workers.slurm.snapshot_worker import take_and_publish  # noqa: PLC0415

    try:
        settings = session.of_role(Role.SNAPSHOT).settings
        taken = take_and_publish(settings, Slurm(settings))
    except SlurmAwayError as error:
        raise SlurmAwayError(f"no snapshot: slurmctld does not answer: {error}") from None
    print_line(f"published a snapshot of {len(taken.nodes)} nodes, generation {taken.generation}")
