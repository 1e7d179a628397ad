"""Check a bill of materials: it has all that requirements.lock pins, in these versions, and nothing else."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

LOCK = Path(__file__).parents[2] / "requirements.lock"
_PINNED = re.compile(r"^[\w.-]+==[^\\\n]+", re.MULTILINE)


def pinned(lock: str) -> dict[str, str]:
    """The versions of a lock file by normalised name; those that this system needs."""
    lines = [Requirement(line) for line in _PINNED.findall(lock)]
    needed = [one for one in lines if one.marker is None or one.marker.evaluate()]
    return {_normal(one.name): str(one.specifier).removeprefix("==") for one in needed}


def problems(bill: dict[str, Any], wanted: dict[str, str]) -> list[str]:
    """What is wrong with a bill of materials of CycloneDX."""
    found = {_normal(one["name"]): one["version"] for one in bill.get("components", ())}
    found.pop("lamplighter", None)
    named = bill.get("metadata", {}).get("component", {}).get("name")
    return [
        *([] if wanted else ["nothing is locked"]),
        *([] if named == "lamplighter" else [f"it is of {named}, not of lamplighter"]),
        *(f"lacks {name} {wanted[name]}" for name in sorted(wanted.keys() - found.keys())),
        *(f"has {name}, which is not locked" for name in sorted(found.keys() - wanted.keys())),
        *(
            f"{name}: has {found[name]}, locked is {wanted[name]}"
            for name in sorted(found.keys() & wanted.keys())
            if found[name] != wanted[name]
        ),
    ]


def _normal(name: str) -> str:
    """As PEP 503 normalises names of packages."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Check the file that the command line names; return 1 if something is wrong."""
    bill, wanted = json.loads(Path(sys.argv[1]).read_text()), pinned(LOCK.read_text())
    found = problems(bill, wanted)
    sys.stdout.writelines(f"{sys.argv[1]}: {one}\n" for one in found)
    if not found:
        sys.stdout.write(f"{sys.argv[1]}: lamplighter and its {len(wanted)} packages\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
