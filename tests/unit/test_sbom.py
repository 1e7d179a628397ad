"""`make sbom` refuses a bill of materials that is not of what requirements.lock pins."""

from __future__ import annotations

from tests.testbed.sbom import LOCK, pinned, problems

GOOD = {
    "metadata": {"component": {"name": "lamplighter"}},
    "components": [
        {"name": "Pika", "version": "1.4.4"},
        {"name": "typing_extensions", "version": "4.16.0"},
    ],
}
WANTED = {"pika": "1.4.4", "typing-extensions": "4.16.0"}


def test_what_differs_from_the_lock_is_named() -> None:
    assert problems(GOOD, WANTED) == []
    assert problems({}, {}) == ["nothing is locked", "it is of None, not of lamplighter"]
    other = GOOD | {
        "components": [{"name": "pika", "version": "1.4.3"}, {"name": "x", "version": ""}]
    }
    assert problems(other, WANTED) == [
        "lacks typing-extensions 4.16.0",
        "has x, which is not locked",
        "pika: has 1.4.3, locked is 1.4.4",
    ]


def test_the_lock_is_read_with_its_markers() -> None:
    text = "Pika==1.4.4 \\\n    --hash=sha256:0\ntzdata==2026.6 ; sys_platform == 'win32' \\\n    --hash=x\n"
    assert pinned(text) == {"pika": "1.4.4"}
    assert {"pika", "sqlalchemy", "psycopg-binary"} <= pinned(LOCK.read_text()).keys()
