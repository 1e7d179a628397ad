"""A file of authorities that cannot be used hurts only what needs it, and only while it is so."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from keystoneauth1.noauth import NoAuth

from tests.testbed.certificates import certificate, tls_with
from tests.testbed.receiver import Receiver
from workers.clouds.client import Cloud
from workers.clouds.driver import CloudDriver, CloudEvent
from workers.clouds.errors import CloudSettingError, Then, classify, may_take_effect
from workers.clouds.session import CloudSession
from workers.config.groups import CloudSettings
from workers.config.logins import PasswordSource
from workers.config.webhooks import Webhook
from workers.notify.http import WebhookClient
from workers.notify.webhook_request import WebhookRequest
from workers.tokens.errors import SourceError
from workers.tokens.transport import Http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.clouds.driver import CloudEvent

LOGIN = PasswordSource(username="u", password_command=("true",))
SENT = WebhookRequest({"content-type": "text/plain"}, b"body")
BAD_PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def linked(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


BROKEN: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_text(""),
    "no PEM": lambda path: path.write_text("hello\n"),
    "bad PEM": lambda path: path.write_text(BAD_PEM),
    "changed by others": lambda path: path.chmod(0o666),
    "a pipe": piped,
    "a loop": lambda path: linked(path, path.name),
    "below a file": lambda path: linked(path, f"{__file__}/x"),
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The authority of the server."""
    return certificate(tmp_path, "own")


@pytest.fixture
def server(own: Path) -> Iterator[Receiver]:
    with Receiver(context=tls_with(own)) as receiver:
        yield receiver


class CatalogSession(CloudSession):
    """A session whose catalog names one address."""

    url = ""

    def _find(self, _service: str, _token: str) -> tuple[str, str | None]:
        return self.url, None


def cloud_of(ca_file: Path) -> CloudSettings:
    return CloudSettings(
        auth_url="https://127.0.0.1:1/v3", project_id="p", source=LOGIN, ca_file=ca_file
    )


def replaced(path: Path, by: Path) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(by.read_bytes())
    path.chmod(0o600)


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_cannot_be_used_is_named_where_it_is_needed_and_used_again_once_it_can(
    tmp_path: Path, own: Path, server: Receiver, how: str
) -> None:
    path = tmp_path / "ca.pem"
    replaced(path, own)
    BROKEN[how](path)
    # nothing of it stops the process that other clouds and webhooks need, too
    cloud = CatalogSession(cloud_of(path), NoAuth(endpoint=server.url), 5.0)
    cloud.url = server.url
    hook = WebhookClient(Webhook(name="one", url=server.url, events=("failed",), ca_file=path))
    for _ in range(2):
        with pytest.raises(CloudSettingError, match=f"ca_file of this cloud: {path}") as refused:
            cloud.request("GET", "/servers")
        with pytest.raises(SourceError, match=f"ca_file of this cloud: {path}") as login:
            Http(path).get(server.url)
        answer = hook.send(SENT, "id")
        assert (answer.status, answer.text.startswith(f"ca_file: {path}")) == (None, True)
        assert (login.value.error, bool(login.value.remedy)) == ("misconfigured", True)
        verdict = classify(refused.value)
        assert (verdict.cause.error, verdict.then) == ("misconfigured", Then.PARK)
        assert not may_take_effect(refused.value, 1)
        assert server.got == []
        replaced(path, own)
        assert cloud.request("GET", "/servers").status_code == 200
        assert Http(path).get(server.url).ok
        assert hook.send(SENT, "id").status == 200
        server.got.clear()
        # the connections that are open now do not hide it
        BROKEN[how](path)
    cloud.close()
    hook.close()


def test_a_file_that_may_not_be_read_is_said_with_the_user(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "stat", denied)  # root may read every file
    with pytest.raises(SourceError, match="let user"):
        Http(own).get("https://127.0.0.1:1/")


def test_status_names_the_file_of_a_cloud_that_is_away_for_it(tmp_path: Path) -> None:
    settings = cloud_of(tmp_path / "gone.pem")
    cloud = Cloud(settings, NoAuth(endpoint="https://127.0.0.1:1"), 5.0, "cluster", {})
    posted: list[CloudEvent] = []
    driver = CloudDriver("one", "cluster", settings, cloud, posted.append)
    error = CloudSettingError("ca_file of this cloud: gone.pem cannot be read")
    said = [driver.trouble]
    driver.failed(classify(error), 0.0, None, time.monotonic())
    said.append(driver.trouble)
    driver.tokens_away = True
    said.append(driver.trouble)
    assert said == [None, f"misconfigured: {error}", "token_service_away"]
    driver.close()
