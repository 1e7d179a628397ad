"""The ResumeProgram of slurm.conf."""

from producers import hook
from schemas.commands import Kind


def main() -> None:
    """`lamplighter-resume HOSTLIST`."""
    hook.main(Kind.RESUME)
