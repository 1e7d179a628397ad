"""`lamplighter doctor` names settings that load, and cannot do what they are meant for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops.doctor.parts import of_notify
from ops.doctor.settings import of_settings
from schemas.events import Transition
from schemas.jobs import JobTransition
from tests.unit.test_doctor import GOOD_TOML
from workers.broker.depths import QueueDepth
from workers.config.settings import Settings, load

if TYPE_CHECKING:
    from pathlib import Path

WEBHOOK = '[[notify.webhook]]\nname = "m"\nurl = "https://h.example.org/x"\nevents = ["EVENT"]\n'
SERVER = '[groups.g.server]\nimage = "i"\nflavor = "f"\nuser_data_file = "node.yaml"\n'
RESYNC = "[resync]\nstale_after = 30.0\n"
OPUS = '[[notify.webhook]]\nname = "o"\nurl = "https://h.example.org"\nformat = "opus"\n'
METRICS = '[metrics]\nlisten = "192.0.2.7:9464"\ninsecure = true\n'
SLURM = "return_after = 9000.0"


def settings(folder: Path, text: str, slurm: str = "") -> Settings:
    path = folder / "lamplighter.toml"
    path.write_text(GOOD_TOML.replace("[slurm]\n", f"[slurm]\n{slurm}\n") + text)
    return load(path, {})


@pytest.mark.parametrize(
    ("text", "slurm", "words", "remedy"),
    [
        (RESYNC, "", "resync.stale_after (30 s) is below slurm.snapshot", "at least 120"),
        ("", SLURM, "slurm.return_after (9000 s) is above", "[slurm]"),
        ("[power]\nclock_ahead = 0.3\n", "", "power.clock_ahead is 0.3 s: ", "at least 5"),
        ('hostname = "$node.x"\n', "", "groups.g.hostname: without slurm.set", "set_addresses"),
        (OPUS, "", "notify.webhook o: OPUS gets no events of jobs", "uws_jobdata in [slurm]"),
        (METRICS, "", "metrics.listen: 192.0.2.7: ", "127.0.0.1:PORT"),
        (
            '[console]\nlisten = "192.0.2.7:8617"\nlogin_to_read = false\n',
            "",
            "console.listen: 192",
            "127",
        ),
        ('[metrics]\nlisten = "127.0.0.1:8610"\n', "", "console.listen uses 8617", "such as 9464"),
        ('[metrics]\nlisten = "127.0.0.1:8617"\n', "", "console.listen uses 8617", "such as 9464"),
        ("[power]\nhold = 1800.0\n", "", "power.hold is 1800 s: RabbitMQ closes", "at most 1740"),
        (SERVER, "", "groups.g.server.user_data_file: ", "node.yaml"),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    run_dir: Path, text: str, slurm: str, words: str, remedy: str
) -> None:
    (found,) = of_settings(settings(run_dir, text, slurm))
    assert words in found.words
    assert remedy in (found.remedy or "")


@pytest.mark.parametrize("port", [0, 8607, 8618, 9464])
def test_metrics_beside_the_console_are_right(run_dir: Path, port: int) -> None:
    text = f'[metrics]\nlisten = "127.0.0.1:{port}"\n'
    assert list(of_settings(settings(run_dir, text))) == []


def test_a_webhook_of_opus_whose_jobs_are_known_is_right(run_dir: Path) -> None:
    assert list(of_settings(settings(run_dir, OPUS, 'uws_jobdata = "/shared"'))) == []


@pytest.mark.parametrize(
    "event",
    [
        *Transition,
        *(one.routing_key for one in JobTransition),
        *("alarm.#", "message.#", "group.#", "node.request.*", "node.registered", "#"),
        *("lamplighter.job.failed.v1", "*.failed", "clock.reset", "hold.*"),
    ],
)
def test_a_webhook_for_any_event_that_there_is_is_right(run_dir: Path, event: str) -> None:
    assert list(of_settings(settings(run_dir, WEBHOOK.replace("EVENT", event)))) == []


@pytest.mark.parametrize(("text", "wrong"), [("$node $$x", 0), ("$nod", 1), ("a $ b", 1)])
def test_user_data_is_filled_in_as_for_a_boot(run_dir: Path, text: str, wrong: int) -> None:
    (run_dir / "node.yaml").write_text(f"#cloud-config\n# {text}\n")
    found = list(of_settings(settings(run_dir, SERVER)))
    assert len(found) == wrong
    assert all("user_data_file" in one.words and "write $$" in one.words for one in found)
    (run_dir / "node.yaml").write_text("#cloud-config\n" + "#" * 49_200)
    (found_,) = of_settings(settings(run_dir, SERVER))
    assert "user_data_file: is longer than 49149 bytes" in found_.words
    (run_dir / "node.yaml").write_text("#cloud-config\n")
    (run_dir / "node.yaml").chmod(0o666)
    (found_,) = of_settings(settings(run_dir, SERVER))
    assert "user_data_file" in found_.words


@pytest.mark.parametrize(
    ("text", "ready", "consumers", "wrong"),
    [
        (WEBHOOK, 0, 0, 1),
        (WEBHOOK, None, 0, 1),
        (WEBHOOK, 0, 1, 0),
        (WEBHOOK, 3, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_a_webhook_without_a_worker_is_named_before_the_first_event(
    run_dir: Path, text: str, ready: int | None, consumers: int, wrong: int
) -> None:
    """With events, the findings about queues say it."""
    depths = [QueueDepth("notify", ready, consumers)]
    found = list(of_notify(settings(run_dir, text.replace("EVENT", "failed")), depths))
    assert len(found) == wrong
    assert all("lamplighter-notify" in (one.remedy or "") for one in found)
