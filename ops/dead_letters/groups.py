"""Dead letters that are alike as one line: 500 letters of one outage are one trouble. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import hostlist

from ops.cli.terminal import moment
from ops.dead_letters.select import Places, jobs_of, trouble
from workers.dead_letters.letter import Letter

COLUMNS = ("letters", "of", "nodes", "first died", "last died", "example")
# More letters than this are told by cause, unless asked otherwise.
FEW = 20
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Group:
    """Letters that are alike; times in ns since the epoch, None where no letter tells.

    Attributes:
        name: what they have in common.
        nodes: a hostlist.
        example: the commonest words among their causes.
        jobs: who waits for any of them.
    """

    name: str
    letters: int
    nodes: str
    first: int | None
    last: int | None
    example: str
    jobs: tuple[int, ...]

    def row(self) -> tuple[object, ...]:
        """A line of the list; COLUMNS names its cells."""
        nodes = self.nodes if len(self.nodes) <= _LONGEST else f"{self.nodes[:_LONGEST]}..."
        return (
            *(self.letters, self.name, nodes or None),
            *(moment(self.first), moment(self.last), self.example),
        )

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "group": self.name,
            "letters": self.letters,
            "nodes": self.nodes,
            "first_died_at": moment(self.first) if self.first is not None else None,
            "last_died_at": moment(self.last) if self.last is not None else None,
            "example": self.example,
            "jobs": list(self.jobs),
        }


# What letters can be grouped by; of causes those are alike whose words are.
KEYS: Mapping[str, Callable[[Letter, Places], tuple[str, ...]]] = {
    "cause": lambda letter, _: trouble(letter),
    "error": lambda letter, _: (letter.cause.error,),
    "node": lambda letter, _: (letter.command.node if letter.command else "malformed",),
    "group": lambda letter, places: (places.group(letter),),
    "cloud": lambda letter, places: (places.cloud(letter),),
    "queue": lambda letter, _: (letter.died_in,),
}


def grouped(letters: Sequence[Letter], by: str, places: Places) -> list[Group]:
    """The groups, the largest first; `by` is one of KEYS."""
    return [group(key[0], members) for key, members in alike(letters, by, places)]


def alike(
    letters: Sequence[Letter], by: str, places: Places
) -> list[tuple[tuple[str, ...], list[Letter]]]:
    """The letters of each group, the largest first, by what they have in common."""
    found: dict[tuple[str, ...], list[Letter]] = {}
    for letter in letters:
        found.setdefault(KEYS[by](letter, places), []).append(letter)
    return sorted(found.items(), key=lambda pair: -len(pair[1]))


def group(name: str, letters: Sequence[Letter]) -> Group:
    """Letters as one."""
    died = [letter.died_at for letter in letters if letter.died_at is not None]
    words = Counter(f"{letter.cause.error}: {letter.cause.message}" for letter in letters)
    nodes = sorted({letter.command.node for letter in letters if letter.command is not None})
    return Group(
        name=name,
        letters=len(letters),
        nodes=hostlist.collect_hostlist(nodes),
        first=min(died, default=None),
        last=max(died, default=None),
        example=words.most_common(1)[0][0],
        jobs=tuple(sorted({job for letter in letters for job in jobs_of(letter.command)})),
    )
