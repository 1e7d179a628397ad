"""The ResumeFailProgram of slurm.conf."""

from producers import hook
from schemas.commands import Kind


def main() -> None:
    """`lamplighter-resume-fail HOSTLIST`."""
    hook.main(Kind.RESUME_FAIL)
