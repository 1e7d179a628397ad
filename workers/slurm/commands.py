"""Runs Slurm's commands, and is the only module that does: argument lists, absolute paths, time limits."""

import os
import re
import subprocess

from workers.config.settings import Settings
from workers.config.slurm_location import find, slurm_conf
from workers.errors import LamplighterError
from workers.process.programs import TooMuchOutputError, run_program

# What a command says that slurmctld did not answer (src/common/slurm_errno.c), though it may answer the
# next one: a busy one lets some wait for longer than MessageTimeout.
_NO_ANSWER = re.compile(
    "error: (Unable to contact slurm controller|Socket timed out|Zero Bytes were transmitted"
    "|Communication |Message send|Message receive|Slurm backup controller)"
)


class SlurmAwayError(LamplighterError):
    """slurmctld did not answer."""


class SlurmRefusedError(LamplighterError):
    """slurmctld refused a command; the text is the command's output."""


class SlurmCommands:
    """scontrol and squeue of one cluster, run as the current user.

    [slurm] names the folders of the commands and of slurm.conf.

    Raises:
        ConfigError: the commands are not installed here.
    """

    def __init__(self, settings: Settings) -> None:
        folder = settings.slurm.bin
        self._paths = {name: find(name, folder) for name in ("scontrol", "squeue")}
        self._timeout = settings.slurm.timeout
        conf = slurm_conf(settings)
        # the rest of our environment is not passed on: no secret, no locale
        # times in seconds: local times are ambiguous in the night that summer time ends
        self._environment = {"PATH": os.defpath, "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}
        # a federation's clusters may show each other's nodes and jobs (fed_display): ours alone count
        self._environment |= {"SCONTROL_LOCAL": "1", "SQUEUE_LOCAL": "1"}
        if conf is not None:
            self._environment["SLURM_CONF"] = str(conf)

    def query(self, program: str, *arguments: str) -> str:
        """The output of a query that slurmctld never refuses.

        Raises:
            SlurmAwayError: slurmctld does not answer.
        """
        succeeded, output = self._execute(program, *arguments)
        if not succeeded:
            raise SlurmAwayError(output)
        return output

    def run(self, program: str, *arguments: str) -> str:
        """The output of a command that slurmctld may refuse.

        Raises:
            SlurmRefusedError: slurmctld answers, and refuses.
            SlurmAwayError: slurmctld does not answer.
        """
        succeeded, output = self._execute(program, *arguments)
        if succeeded:
            return output
        if _NO_ANSWER.search(output):
            raise SlurmAwayError(output)
        if " UP" not in self.query("scontrol", "ping"):
            raise SlurmAwayError("slurmctld is not up")
        raise SlurmRefusedError(output)

    def converse(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command that reads from its input; its errors are part of its output.

        Raises:
            SlurmAwayError: it cannot be started.
        """
        path = self._paths[program]
        try:
            return subprocess.Popen(
                [path, *arguments],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise SlurmAwayError(f"{path}: {error.strerror}") from None

    def _execute(self, program: str, *arguments: str) -> tuple[bool, str]:
        """Whether a command has succeeded, and its output."""
        path = self._paths[program]
        try:
            # encoded whatever this process's locale is
            argv = [word.encode() for word in (path, *arguments)]
            done = run_program(argv, self._timeout, self._environment)
        except TooMuchOutputError as error:
            raise SlurmAwayError(f"{path}: {error}") from None
        except subprocess.TimeoutExpired:
            raise SlurmAwayError(f"no answer within {self._timeout:g} s") from None
        except OSError as error:
            raise SlurmAwayError(f"{path}: {error.strerror}") from None
        except ValueError as error:  # NUL, or half a surrogate pair
            return False, f"an argument is not text: {type(error).__name__}"
        if done.returncode:
            output = (done.stderr or done.stdout).decode(errors="replace")
            return False, " ".join(output.split())[-500:]  # why comes last
        return True, done.stdout.decode(errors="replace")
