"""The commands of `lamplighter audit`: why, list, failures, slowest, export, tail, verify, seal, prune."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from cloudevents.core.formats.json import JSONFormat

from ops.audit.job_history import job_history
from ops.cli.terminal import moment, plain
from schemas.events import Cause, CloudAction, Transition
from schemas.jobs import JobEvent, JobTransition
from schemas.registrations import Registration
from tests.testbed.auditlog import SECOND
from tests.testbed.installation import Installation
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.waiting import until
from workers.audit.log import append
from workers.audit.record import record_of
from workers.store.database import open_store, reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from schemas.events import RequestEvent

HOSTILE = "=cmd|' /C calc'!A0\x1b[2J"
ONE, TWO, THREE = (command(f"node{i}", jobs=(4711,), generation=MOMENT) for i in (7, 8, 9))


def at(seconds: float) -> int:
    return MOMENT + int(seconds * SECOND)


def happened() -> Iterator[RequestEvent]:
    """node7 is parked for five minutes, node8 boots at once, node9 fails and is replayed."""
    for asked in (ONE, TWO, THREE):
        yield event(Transition.ACCEPTED, asked, time=at(1))
    away = Cause("network", "no route to the cloud")
    yield event(Transition.PARKED, ONE, time=at(2), cause=away)
    for asked, began, ended in ((ONE, 302, 340), (TWO, 2, 22)):
        act = CloudAction("os-start", "s", at(began), "done")
        done = event(Transition.COMPLETED, asked, time=at(ended))
        yield replace(done, actions=(act,), cloud="near")
    yield event(Transition.FAILED, THREE, time=at(3), cause=Cause("quota", HOSTILE))
    again = event(Transition.REPLAYED, THREE, round_=2, time=at(3600))
    yield replace(again, by="ada", reason="quota was raised")


@pytest.fixture
def site(run_dir: Path) -> Installation:
    """An installation without a broker: these commands read only the audit."""
    made = Installation(run_dir / "site", "amqp://guest:guest@127.0.0.1:1/gone")
    record(made, list(happened()))
    return made


def record(site: Installation, events: Sequence[RequestEvent | JobEvent | Registration]) -> None:
    engine = open_store(site.settings.store.audit_url, "audit")
    append(engine, [record_of(e.to_envelope().to_json(), "test", e.time) for e in events])
    engine.dispose()


def started(job: int, seconds: int, *nodes: str, submitted: int = 0) -> JobEvent:
    return JobEvent(
        JobTransition.STARTED,
        "test",
        job,
        at(submitted),
        at(seconds),
        nodes=nodes,
        started_at=at(seconds),
        user="ann",
    )


def output(site: Installation, *arguments: str) -> str:
    result = site.lamplighter("audit", *arguments)
    assert result.code == 0, result.err
    assert all(char.isprintable() or char in "\n\r" for char in result.out)
    return result.out


def test_why_shows_the_waits_of_a_job_by_node(site: Installation) -> None:
    out = output(site, "why", "4711")
    first = out.splitlines()[0]
    # node9, replayed an hour later, is still under way
    assert "job 4711 has no recorded start in the " in first
    assert "since the first request for it" in first
    assert "job 4711 waited for 3 requests; node9" in out
    (seven,) = [line for line in out.splitlines() if line.startswith("node7")]
    assert "5 min 40 s" in seven
    assert "5 min 0 s parked: network: no route to the cloud" in seven
    lines = site.lamplighter("audit", "why", "4711", "--json").lines
    (eight,) = [line for line in lines if line["node"] == "node8"]
    assert eight["waited_seconds"] == pytest.approx(22, abs=0.1)
    assert [x["what"] for x in eight["waits"]] == [
        *("spool and broker", "until the cloud was called", "booting")
    ]
    assert site.lamplighter("audit", "why", "4").code == 1


def test_why_and_show_include_the_jobs_start_in_slurm(site: Installation) -> None:
    """Registrations and starts of other jobs, other nodes or a later resume are not counted."""
    later = command("node8", jobs=(4711,), generation=at(500))
    record(
        site,
        [
            *(Registration("test", "node8", at(when)) for when in (-60, 30, 520)),
            Registration("test", "node9", at(25)),
            *(started(4711, 44, "node7"), started(4712, 31, "node8")),
            *(started(4711, 45, "node8"), started(4711, 600, "node8")),
            event(Transition.ACCEPTED, later, time=at(501)),
        ],
    )
    lines = site.lamplighter("audit", "why", "4711", "--json").lines
    (eight,) = [line for line in lines if line["request_id"] == TWO.id]
    assert eight["waited_seconds"] == pytest.approx(45, abs=1)
    assert [(round(x["seconds"]), x["what"]) for x in eight["waits"]][-2:] == [
        (8, "until slurmd had registered"),
        (15, "until Slurm's timer started job 4711"),
    ]
    assert eight["slurm_timer_seconds"] == 15
    (seven,) = [line for line in lines if line["node"] == "node7"]
    assert (seven["registered"], seven["job_started"]) == (None, moment(at(44)))
    (nine,) = [line for line in lines if line["node"] == "node9"]
    assert (nine["registered"], nine["job_started"]) == (None, None)
    steps = output(site, "show", TWO.id)
    assert "job started" in steps
    assert "job 4711" in steps
    for which in (("--job", "4711"), ("--node", "node7"), ("--node", "node[7,100-200]")):
        assert "ann, on node7" in output(site, "list", *which)
    exported = output(site, "export", "-", "--node", "node7")
    assert '"user":"ann"' in exported.replace(" ", "")
    assert "ann" not in output(site, "list", "--node", "node9")


def test_why_separates_the_jobs_other_nodes_from_slurms_timer(site: Installation) -> None:
    """Of a job on two nodes, the timer counts from the last node's registration only."""
    both = [command(node, jobs=(99,), generation=at(700)) for node in ("node20", "node21")]
    record(
        site,
        [
            *(event(Transition.ACCEPTED, one, time=at(701)) for one in both),
            *(event(Transition.COMPLETED, one, time=at(720)) for one in both),
            *(Registration("test", f"node2{n}", at(730 + 10 * n)) for n in (0, 1)),
            started(99, 765, "node20", "node21", submitted=700),
        ],
    )
    lines = site.lamplighter("audit", "why", "99", "--json").lines
    waits = {
        line["node"]: [(round(x["seconds"]), x["what"]) for x in line["waits"]] for line in lines
    }
    timer = (25, "until Slurm's timer started job 99")
    assert waits["node20"][-3:] == [
        (10, "until slurmd had registered"),
        (10, "until the other nodes of job 99 had registered"),
        timer,
    ]
    assert waits["node21"][-2:] == [(20, "until slurmd had registered"), timer]
    assert {line["slurm_timer_seconds"] for line in lines} == {25}
    spans = [(round(x["seconds"]), x["what"]) for x in lines[0]["job_waits"]]
    assert spans[-2:] == [
        (20, "until all its nodes had registered"),
        (25, "until Slurm's timer started the job"),
    ]
    assert "25.0 s of it until Slurm's timer" in output(site, "why", "99")


def test_a_node_whose_clock_is_ahead_has_not_registered_after_its_job_had_started(
    site: Installation,
) -> None:
    """Before its first synchronization, a virtual machine's clock may be hours ahead."""
    asked = command("node40", jobs=(99,), generation=at(700))
    accepted = event(Transition.ACCEPTED, asked, time=at(701))
    done = event(Transition.COMPLETED, asked, time=at(720))
    start = started(99, 765, "node40", submitted=700)
    record(site, [accepted, done, Registration("test", "node40", at(700 + 3600)), start])
    (line,) = site.lamplighter("audit", "why", "99", "--json").lines
    assert (line["registered"], line["slurm_timer_seconds"]) == (None, None)
    assert line["waited_seconds"] == pytest.approx(65, abs=1)
    assert sum(wait["seconds"] for wait in line["waits"]) == pytest.approx(65, abs=1)


def test_a_job_that_was_requeued_has_not_waited_for_slurms_timer(site: Installation) -> None:
    """Slurm gave it its node again later, or at once, or it started there once more."""
    asked = [command(f"node3{job}", jobs=(job,), generation=at(700)) for job in (1, 2, 3)]
    starts = [(1, 1140, 725), (2, 742, 725), (2, 1140, 725), (3, 745, 735)]
    record(
        site,
        [
            *(event(Transition.ACCEPTED, one, time=at(701)) for one in asked),
            *(event(Transition.COMPLETED, one, time=at(720)) for one in asked),
            *(Registration("test", one.node, at(730)) for one in asked),
            *(started(job, time, f"node3{job}", submitted=when) for job, time, when in starts),
        ],
    )
    (one,) = site.lamplighter("audit", "why", "1", "--json").lines
    assert one["slurm_timer_seconds"] is None
    assert [(round(x["seconds"]), x["what"]) for x in one["waits"]][-1] == (
        410,
        "until Slurm started job 1",
    )
    (two,) = site.lamplighter("audit", "why", "2", "--json").lines
    assert two["slurm_timer_seconds"] == 12
    (three,) = site.lamplighter("audit", "why", "3", "--json").lines
    assert three["slurm_timer_seconds"] is None
    assert three["waits"][-1]["what"] == "until Slurm started job 3"
    engine = open_store(site.settings.store.audit_url, "audit")
    with reading(engine) as connection:
        assert [job_history(connection, job).timer for job in (1, 2, 3)] == [None, None, None]
    engine.dispose()


def test_list_shows_who_replayed_a_request_and_why(site: Installation) -> None:
    out = output(site, "list", "--outcome", "replayed", "--since", "2026-01-02T03:30:00")
    (line,) = [line for line in out.splitlines() if "replayed" in line]
    assert "node9" in line
    assert "by ada; quota was raised" in line


def test_list_filters_by_node_and_time(site: Installation) -> None:
    window = ("--since", "2026-01-02T03:04:07", "--until", "2026-01-02T03:09:00")
    lines = site.lamplighter("audit", "list", "--node", "node7", *window, "--json").lines
    assert [line["transition"] for line in lines] == ["parked"]


def test_failures_are_grouped_by_cause(site: Installation) -> None:
    more = [command(f"node{i}") for i in range(20, 40)]
    record(
        site,
        [event(Transition.FAILED, x, cause=Cause("no_host", f"no host for {x.id}")) for x in more],
    )
    out = output(site, "failures", "--since", "2026-01-01")
    first, second = out.splitlines()[1:3]
    assert first.split()[:3] == ["20", "no_host", "node[20-39]"]
    assert second.split()[:3] == ["1", "quota", "node9"]
    assert len(site.lamplighter("audit", "failures", "--json").lines) == 2


def test_slowest_lists_the_longest_boots_first(site: Installation) -> None:
    lines = site.lamplighter("audit", "slowest", "--limit", "2", "--json").lines
    assert [line["node"] for line in lines] == ["node7", "node8"]
    assert "5 min 0 s parked" in output(site, "slowest", "--limit", "1")


def test_an_export_is_cloudevents_or_csv_without_formulas(site: Installation) -> None:
    file = site.folder / "audit.jsonl"
    output(site, "export", str(file))
    lines = file.read_bytes().splitlines()
    assert len(lines) == 8
    read = [JSONFormat().read(None, line) for line in lines]
    assert [event.get_extension("auditseq") for event in read] == [str(i) for i in range(1, 9)]
    assert site.lamplighter("audit", "export", str(file)).code == 2
    result = site.lamplighter("audit", "export", "-", "--format", "csv", "--outcome", "failed")
    (row,) = csv.DictReader(io.StringIO(result.out))
    assert (row["about"], row["jobs"]) == ("node9", "4711")
    assert row["why"] == f"quota: '{plain(HOSTILE)}"


@pytest.mark.parametrize("jobs", [7, None, [7], {"job_id": 7}])
def test_an_event_of_a_later_version_is_exported_as_csv(site: Installation, jobs: object) -> None:
    """The audit keeps types that it does not know, whatever their data is called and holds."""
    known = event(Transition.COMPLETED, ONE).to_envelope()
    later = replace(known, type=f"{known.type[:-1]}2", data={"jobs": jobs})
    engine = open_store(site.settings.store.audit_url, "audit")
    append(engine, [record_of(later.to_json(), "test", at(9))])
    engine.dispose()
    result = site.lamplighter("audit", "export", "-", "--format", "csv")
    assert result.code == 0, result.err
    assert list(csv.DictReader(io.StringIO(result.out)))[-1]["about"] == known.subject


def test_tail_follows_new_records(site: Installation) -> None:
    with site.start("audit", "tail", "-f", "-n", "1", "--json") as child:
        until(lambda: "replayed" in site.logs(), 20.0, "the last record")
        record(site, [event(Transition.COMPLETED, THREE, round_=2, time=at(3700))])
        until(lambda: '"completed"' in site.logs(), 20.0, "the new record")
        child.send(signal.SIGINT)
        child.wait(10.0)
    seen = [json.loads(line)["seq"] for line in site.logs().splitlines() if line.startswith("{")]
    assert seen == [8, 9]


def test_verify_seal_and_prune_by_command(site: Installation) -> None:
    unsigned = site.lamplighter("audit", "verify")
    assert (unsigned.code, "8 records" in unsigned.out) == (0, True)
    kept = site.folder / "kept"
    kept.write_text(site.lamplighter("audit", "heads", "--sign").out)
    assert "records 1 to 8" in output(site, "seal")
    nothing = site.lamplighter("audit", "seal")
    assert (nothing.code, "since the last seal" in nothing.err) == (1, True)
    argv = ("prune", "--before", "2026-01-02T05:00:00", "--reason", "retention", "--yes")
    assert "no sealed segment" in output(site, *argv[:2], "2026-01-02T03:30:00", *argv[3:])
    assert "records 1 to 8" in output(site, *argv, "--dry-run")
    assert "records 1 to 8" in output(site, "prune", "--reason", "retention", "--dry-run")
    young = site.lamplighter("audit", "prune", "--before", "179d", "--reason", "x", "--yes")
    assert (young.code, "audit.keep" in young.err) == (2, True)
    assert "8 records dropped" in output(site, *argv)
    out = output(site, "verify", "--heads", str(kept))
    assert "2 records" in out
    assert "records up to 8 were dropped" in out
    assert "retention" in out
    assert "2 are of dropped segments" in out
    engine = open_store(site.settings.store.audit_url, "audit")
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM audit WHERE seq = 9"))
    engine.dispose()
    broken = site.lamplighter("audit", "verify", "--heads", str(kept))
    assert broken.code == 1
    assert "earlier records are missing" in broken.out
    assert "is missing" in broken.out


def at_80_columns(site: Installation, *arguments: str) -> str:
    """The output on a terminal of 80 columns."""
    done = subprocess.run(
        site.argv("audit", *arguments),
        env={**MINIMAL_ENVIRONMENT, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tables_fit_80_columns_and_name_the_kind_of_request(site: Installation) -> None:
    for words in (("list",), ("why", "4711"), ("slowest",), ("failures",), ("show", ONE.id)):
        table = at_80_columns(site, *words)
        # the summaries of `why` are sentences
        lines = [line for line in table.splitlines() if not line.startswith("job 4711 wait")]
        assert max(map(len, lines)) <= 80, words
    shown = at_80_columns(site, "list")
    (seven,) = [line for line in shown.splitlines() if re.search("completed +node7", line)]
    assert re.match("(01-02 03:09|2026-01-02) +resume completed +node7 ", seven)
    assert "resume replayed, round 2" in output(site, "list")


def test_a_short_id_of_a_table_is_accepted_and_an_ambiguous_one_lists(site: Installation) -> None:
    shown = at_80_columns(site, "list", "--node", "node7")
    (short,) = {word for word in shown.split() if ONE.id.startswith(word)}
    assert len(short) < len(ONE.id)
    assert "request " + ONE.id in output(site, "show", short)
    assert output(site, "list", "--request", short) == output(site, "list", "--request", ONE.id)
    for words in (("show", "019"), ("list", "--request", "019"), ("tail", "--request", "019")):
        result = site.lamplighter("audit", *words)
        assert result.code == 1
        assert "'019' is the beginning of 3 ids: " in result.err
        assert all(request.id in result.err for request in (ONE, TWO, THREE))


def test_an_empty_list_says_so(site: Installation) -> None:
    since = ("--since", "2100-01-01")
    assert output(site, "list", *since) == "no events\n"
    assert output(site, "failures", *since) == "no failures\n"
    assert output(site, "slowest", *since) == "no boots\n"
    assert output(site, "tail", *since) == "no events\n"
    assert output(site, "list", "--json", *since) == output(site, "tail", "--json", *since) == ""
