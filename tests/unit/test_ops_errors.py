"""An error of a command is one line with a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from ops.cli.errors import EXIT_AWAY, EXIT_WRONG, explain
from ops.cli.files import output

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("there", "File exists: name another file, or remove this one"),
        ("away/new", "No such file or directory: make its folder, or name another"),
        ("there/new", "Not a directory: name a file in a folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_named_with_a_remedy(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(OSError, match=name) as caught, output(tmp_path / name):
        pass
    assert explain(caught.value) == (f"{tmp_path / name}: {words}", EXIT_WRONG)


def test_an_error_without_a_file_keeps_its_words() -> None:
    assert explain(OSError(28, "No space left on device")) == (
        "[Errno 28] No space left on device",
        EXIT_WRONG,
    )


@pytest.mark.parametrize("kind", [sa.exc.OperationalError, sa.exc.ProgrammingError])
def test_a_database_that_does_not_answer_is_named_with_its_keys(
    kind: type[sa.exc.DBAPIError],
) -> None:
    """Also an option of its URL that libpq does not know."""
    refused = kind("SELECT 1", None, Exception("Connection refused"))
    words = "the store is unavailable or refused the request: Connection refused"
    remedy = "start it, or check store.url and store.audit_url"
    assert explain(refused) == (f"{words}: {remedy}", EXIT_AWAY)
