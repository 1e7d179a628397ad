"""The SuspendProgram of slurm.conf."""

from producers import hook
from schemas.commands import Kind


def main() -> None:
    """`lamplighter-suspend HOSTLIST`."""
    hook.main(Kind.SUSPEND)
