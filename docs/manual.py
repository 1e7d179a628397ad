"""The manual pages of the programs that slurmctld runs, in the macros of man(7)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from producers.hook import EXIT_BAD_CALL, EXIT_NOT_DURABLE, EXIT_SPOOLED

SECTION = 8


@dataclass(frozen=True, slots=True)
class Program:
    """A program: what it does in a line, its arguments, what it does at length, how it ends, its files."""

    summary: str
    arguments: str
    text: str
    status: str
    files: tuple[str, ...]


_HOOK = (
    "It stores the request on disk, publishes it to RabbitMQ, and ends within four seconds: slurmctld waits for it. "
    "While the broker does not answer, the request stays in the spool, and the relay sends it later. "
    "NODES is a hostlist expression, such as node[1-3,7]."
)
_STATUS = (
    f"{EXIT_SPOOLED}: the request is on disk or at the broker. {EXIT_NOT_DURABLE}: it could not be stored. "
    f"{EXIT_BAD_CALL}: the configuration or the call is wrong, and nothing was sent. "
    "What went wrong is in the log that hooks.log_file names, in syslog and on standard error."
)
_FILES = ("/etc/lamplighter/lamplighter.toml", "/var/spool/lamplighter")


def _hook(summary: str, parameter: str) -> Program:
    text = f"slurmctld runs it as {parameter} in slurm.conf. {_HOOK}"
    return Program(summary, "NODES", text, _STATUS, _FILES)


PROGRAMS: Mapping[str, Program] = {
    "lamplighter-resume": _hook("ask for nodes to be powered on", "ResumeProgram"),
    "lamplighter-suspend": _hook("ask for nodes to be powered off", "SuspendProgram"),
    "lamplighter-resume-fail": _hook(
        "report nodes that have not booted in time", "ResumeFailProgram"
    ),
    "lamplighter-prolog": Program(
        "let a job begin as soon as its nodes are ready",
        "[--release] [FOLDER]",
        "slurmctld runs it as PrologSlurmctld in slurm.conf, and looks for jobs that can start when it ends: so it waits "
        "until the slurm worker says that the job's nodes are ready. It ends at once if that worker does not run. FOLDER "
        "is slurm.prolog in lamplighter.toml, by default /run/lamplighter/prolog. With --release, it ends all that wait, "
        "for the end of slurmctld.",
        "Always 0: with another status, Slurm requeues the job.",
        ("/etc/lamplighter/lamplighter.toml", "/run/lamplighter/prolog"),
    ),
}


def manual_pages() -> Mapping[str, str]:
    """The text of each page, by its file's name."""
    return {f"{name}.{SECTION}": "".join(_page(name, one)) for name, one in PROGRAMS.items()}


def see_also(*pages: tuple[str, int]) -> str:
    """The section that leads to other pages: their names and sections."""
    return (
        ".SH SEE ALSO\n"
        + "".join(f".BR {roff(name)} ({number}),\n" for name, number in pages)[:-2]
        + "\n"
    )


def roff(text: str) -> str:
    """A line of text as roff reads it."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _page(name: str, program: Program) -> Iterator[str]:
    yield f'.TH {roff(name.upper())} {SECTION} "" "Lamplighter" "Programs of slurmctld"\n'
    yield f".SH NAME\n{roff(name)} \\- {program.summary}\n"
    yield f".SH SYNOPSIS\n.B {roff(name)}\n{roff(program.arguments)}\n"
    yield f".SH DESCRIPTION\n{roff(program.text)}\n"
    yield f".SH EXIT STATUS\n{roff(program.status)}\n"
    yield ".SH FILES\n" + "\n.br\n".join(map(roff, program.files)) + "\n"
    others = ((one, SECTION) for one in PROGRAMS if one != name)
    yield see_also(("lamplighter", 1), *others)
