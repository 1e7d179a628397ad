"""Numbers on the command line are read strictly: `int` would take 4711_3 for job 47113."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.main import cli
from ops.cli.options import confirm, count, job_id, length, reason, when
from schemas.numbers import MOST, whole_number
from tests.testbed.stores import STORES
from workers.store.database import open_store


@pytest.mark.parametrize("text", ["4711_3", "4711+1"])
def test_part_of_a_job_is_refused_with_the_command_that_prints_its_number(text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        job_id(text)
    assert f"squeue --noheader --states=all --jobs={text} --format=%A" in caught.value.message


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "1_0", "+1", "-1", "\u0661", "\u00b2", "1e3", "0x1", "1.0", "9" * 5000, "1\n"],
)
def test_only_ascii_digits_are_a_number(text: str) -> None:
    assert whole_number(text) is None
    for read in (job_id, count(0)):
        with pytest.raises(click.BadParameter):
            read(text)


def test_numbers_have_limits() -> None:
    assert job_id("4294967295") == 2**32 - 1
    assert count(0)("0") == count(0)(0) == 0
    for read, text in ((job_id, "0"), (job_id, "4294967296"), (count(1), "0")):
        with pytest.raises(click.BadParameter):
            read(text)
    with pytest.raises(click.BadParameter):
        length("\u0661s")


@given(st.text(max_size=25))
def test_a_number_is_what_its_digits_say(text: str) -> None:
    found = whole_number(text)
    assert found is None or (text.isascii() and text.isdigit() and found == int(text))


@pytest.mark.parametrize(
    "text",
    ["0001-01-01", "1969-12-31", "2263-01-01", "9999-12-31T23:59:59-23:00", "999999999w", "60000d"],
)
def test_a_time_that_no_store_can_hold_is_refused_with_the_years(text: str) -> None:
    with pytest.raises(click.BadParameter, match="not between the years 1970 and 2262"):
        when(text)


@given(st.text(max_size=25) | st.datetimes().map(str) | st.from_regex(r"[0-9]{1,9}[smhdw]"))
def test_every_time_is_one_that_stores_hold_or_is_refused(text: str) -> None:
    with contextlib.suppress(click.BadParameter):
        assert 0 <= when(text) <= MOST


@pytest.mark.parametrize("text", ["", " ", "\t\n", "x" * 501])
def test_a_reason_says_something_and_fits_into_a_table(text: str) -> None:
    """An empty variable of a shell is no reason."""
    with pytest.raises(click.BadParameter, match="write why, in 1 to 500 characters"):
        reason(text)
    assert reason(" odd disk ") == "odd disk"


def test_every_reason_on_the_command_line_is_read_so() -> None:
    words = Path(__file__).parents[2].joinpath("ops").rglob("*.py")
    options = [text for file in words for text in file.read_text().split("click.option(")[1:]]
    found = [text[:200] for text in options if '"--reason"' in text[:30]]
    assert len(found) >= 3
    assert all("reason," in text.partition("type=")[2][:20] for text in found)


@pytest.mark.parametrize("piped", ["", "y\n", "yes\n", "n\n"])
def test_a_piped_answer_is_none(piped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that pipes yes into every command has not read the question."""
    monkeypatch.setattr("sys.stdin", io.StringIO(piped))
    with pytest.raises(click.UsageError, match=r"Power off.* repeat the command with --yes"):
        confirm("Power off 3 nodes", yes=False)
    confirm("Power off 3 nodes", yes=True)


def test_every_question_is_asked_in_one_way() -> None:
    """`click.confirm` by itself takes a piped answer."""
    asking = [
        file.name
        for file in Path(__file__).parents[2].joinpath("ops").rglob("*.py")
        if "click.confirm(" in file.read_text() and file.name != "options.py"
    ]
    assert asking == []


def with_empty_audit(folder: Path) -> Path:
    """The lamplighter.toml of a site whose audit log is empty."""
    store = STORES.url(folder / "audit.db")
    open_store(store, "audit").dispose()
    config = folder / "lamplighter.toml"
    config.write_text(
        f'cluster = "c"\n[broker]\nurl = "amqp://127.0.0.1/v"\n[store]\naudit_url = "{store}"\n'
    )
    config.chmod(0o600)
    return config


@pytest.mark.parametrize(
    "words",
    [("list",), ("tail",), ("failures",), ("slowest",), ("export", "-"), ("list", "--json")],
)
def test_a_time_that_ends_before_it_begins_is_refused_not_empty(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    argv = ["--config", str(with_empty_audit(tmp_path)), "audit", *words]
    reversed_ = CliRunner().invoke(cli, [*argv, "--since", "2h", "--until", "3h"])
    assert (reversed_.exit_code, reversed_.stdout) == (2, "")
    assert "--since: must be before --until" in reversed_.stderr
    assert CliRunner().invoke(cli, [*argv, "--since", "3h", "--until", "2h"]).exit_code == 0


def test_a_report_on_the_future_is_refused(tmp_path: Path) -> None:
    argv = ["--config", str(with_empty_audit(tmp_path)), "report", "--from"]
    future = CliRunner().invoke(cli, [*argv, "2199-01-01", "--to", "2199-02-01"])
    assert future.exit_code == 2
    assert "--from: must be before --to, and in the past" in future.stderr


@pytest.mark.parametrize("form", ["table", "json", "csv", "html"])
def test_a_report_reads_what_sacct_says_in_any_encoding_and_asks_for_no_more(
    tmp_path: Path, form: str
) -> None:
    """Names of users may be in Latin-1; an empty report does not ask for --sacct again."""
    said = tmp_path / "sacct"
    row = "1|\u00e9ric|node1|2026-11-29T00:00:00|2026-11-29T01:00:00\n"
    said.write_text(f"JobIDRaw|User|NodeList|Start|End\n{row}", encoding="latin-1")
    words = ["report", "--by", "user", "--sacct", str(said), "--format", form]
    done = CliRunner().invoke(cli, ["--config", str(with_empty_audit(tmp_path)), *words])
    assert done.exit_code == 0, done.exception
    assert "--sacct" not in done.output


def test_an_audit_log_without_heads_says_so(tmp_path: Path) -> None:
    """On standard error: what is printed is kept elsewhere."""
    argv = ["--config", str(with_empty_audit(tmp_path)), "audit", "heads"]
    done = CliRunner().invoke(cli, argv)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no head is signed yet" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("hold", "node1", "--reason", "x"),
        ("release", "node1"),
        ("image", "unset", "g", "--reason", "x"),
    ],
    ids=lambda words: words[0],
)
def test_who_may_only_look_changes_nothing_in_the_store(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A SQLite store lets the whole group write, and the broker refuses the record of what was done."""
    config = tmp_path / "lamplighter.toml"
    config.write_text(
        'cluster = "c"\n[broker]\nurl = "amqp://127.0.0.1:1/v"\nusers = { folder = "users" }\n'
        '[store]\nurl = "sqlite:///s.db"\naudit_url = "sqlite:///a.db"\n[hooks]\nspool = "spool"\nstate = "clock"\n'
        '[clouds.c]\nauth_url = "https://k/v3"\nproject_id = "p"\n'
        'source = { type = "password", username = "u", password_file = "p" }\n'
        '[groups.g]\nnodes = "node1"\ncloud = "c"\n'
    )
    (tmp_path / "users").mkdir()
    (tmp_path / "users/reader.password").touch(mode=0o600)
    # On SQLite: what its file's mode lets a user do.
    open_store(f"sqlite:///{tmp_path}/s.db", "state").dispose()
    result = CliRunner().invoke(cli, ["--config", str(config), *words])
    assert "operator.password, and so may only look" in str(result.exception), result.output
