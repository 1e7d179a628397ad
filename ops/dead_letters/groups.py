"""Groups similar dead letters: 500 letters of one outage are one line. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import hostlist

from ops.cli.terminal import Columns, cut, json_moment, short_moment
from ops.dead_letters.letter import Letter
from ops.dead_letters.select import Places, jobs_of, trouble

# More dead letters than this are listed by cause, unless an option says otherwise.
FEW = 20


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Similar dead letters; times in ns since the epoch, None if they are unknown.

    `name` is what they have in common, `nodes` a hostlist, `example` the most frequent message;
    `jobs` wait for any of them.
    """

    name: str
    letters: int
    nodes: str
    first: int | None
    last: int | None
    example: str
    jobs: tuple[int, ...]

    def as_json(self) -> dict[str, object]:
        """A JSON object."""
        return {
            "group": self.name,
            "letters": self.letters,
            "nodes": self.nodes,
            "first_died_at": json_moment(self.first),
            "last_died_at": json_moment(self.last),
            "example": self.example,
            "jobs": list(self.jobs),
        }


COLUMNS: Columns[LetterGroup] = {
    "letters": lambda group: group.letters,
    "group": lambda group: group.name,
    "nodes": lambda group: cut(group.nodes) or None,
    "last died": lambda group: short_moment(group.last),
    "example": lambda group: group.example,
}
# The keys of `grouped`. With "cause", letters with similar error messages are in one group.
KEYS: Mapping[str, Callable[[Letter, Places], tuple[str, ...]]] = {
    "cause": lambda letter, _: trouble(letter),
    "error": lambda letter, _: (letter.cause.error,),
    "node": lambda letter, _: (letter.command.node if letter.command else letter.fault,),
    "group": lambda letter, places: (places.group(letter),),
    "cloud": lambda letter, places: (places.cloud(letter),),
    "queue": lambda letter, _: (letter.died_in,),
}


def grouped(letters: Sequence[Letter], by: str, places: Places) -> list[LetterGroup]:
    """The groups, largest first; `by` is one of KEYS."""
    return [letter_group(key[0], members) for key, members in group_letters(letters, by, places)]


def group_letters(
    letters: Sequence[Letter], by: str, places: Places
) -> list[tuple[tuple[str, ...], list[Letter]]]:
    """The key and the letters of each group, largest first."""
    found: dict[tuple[str, ...], list[Letter]] = {}
    for letter in letters:
        found.setdefault(KEYS[by](letter, places), []).append(letter)
    return sorted(found.items(), key=lambda pair: -len(pair[1]))


def letter_group(name: str, letters: Sequence[Letter]) -> LetterGroup:
    """The group of these letters."""
    died = [letter.died_at for letter in letters if letter.died_at is not None]
    messages = Counter(str(letter.cause) for letter in letters)
    nodes = sorted({letter.command.node for letter in letters if letter.command is not None})
    return LetterGroup(
        name=name,
        letters=len(letters),
        nodes=hostlist.collect_hostlist(nodes),
        first=min(died, default=None),
        last=max(died, default=None),
        example=messages.most_common(1)[0][0],
        jobs=tuple(sorted({job for letter in letters for job in jobs_of(letter.command)})),
    )
