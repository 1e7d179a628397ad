"""A connection that fails says why, with its own remedy: to commands, hooks, workers and logins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.testbed.broker import User
from tests.testbed.controller import Controller
from tests.testbed.installation import Installation
from tests.testbed.tls import make_certificate, web_server
from tests.testbed.waiting import until
from workers.config.groups import CloudSettings
from workers.config.logins import PasswordSource
from workers.tokens.errors import SourceError
from workers.tokens.keystone import Keystone
from workers.tokens.transport import Http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker

UNTRUSTED = "the certificate is not trusted (self-signed certificate): name the authority that"
NO_TLS = "the port speaks no TLS: write amqp:// or the port for TLS in broker.url"
CUT_OFF = "the port ends the connection at once: if it expects TLS, write amqps:// in broker.url"


@pytest.fixture
def tls_port(run_dir: Path) -> Iterator[int]:
    with web_server(make_certificate(run_dir)) as port:
        yield port


@pytest.fixture(
    params=[
        ("plain", NO_TLS),
        ("tls", CUT_OFF),
        ("untrusted", UNTRUSTED),
        ("other_name", "the certificate is not for 127.0.0.1: write the certificate's own name"),
        ("expired", "certificate has expired: the server needs a new certificate"),
        ("no_vhost", "the broker has no virtual host 'not-test-"),
        ("no_access", "the broker refused user 'stranger-test-"),
        (
            "password",
            "the broker refused the login of user 'admin': correct the password in ",
        ),
        ("no_host", "host nowhere.invalid is unknown: check broker.url and this host's DNS"),
    ],
    ids=lambda param: param[0],
)
def wrong(
    request: pytest.FixtureRequest, run_dir: Path, broker: Broker, vhost: str, tls_port: int
) -> Iterator[tuple[Installation, str]]:
    """An installation that cannot connect, and the words that say why."""
    case, words = request.param
    url, more = broker.amqp_url(vhost), ""
    if case == "plain":
        url = url.replace("amqp://", "amqps://")
    elif case == "no_vhost":
        url = broker.amqp_url(f"not-{vhost}")
    elif case == "no_access":
        other = User(f"stranger-{vhost}", "s")
        broker.api.put_user(other.name, other.password)
        url = broker.amqp_url(vhost, other)
    elif case == "password":
        url = url.replace(broker.admin.password, "wrong")
    elif case == "no_host":
        url, more = "amqps://nowhere.invalid/v", "users = {}"
    else:
        host = "127.0.0.1" if case == "other_name" else "localhost"
        scheme = "amqp" if case == "tls" else "amqps"
        url = f"{scheme}://me:pw@{host}:{tls_port}/v"
        if case == "other_name":
            more = f'ca_file = "{run_dir}/certificate1.pem"'
    if case == "expired":
        expired = make_certificate(run_dir, -1)
        with web_server(expired) as port:
            url = f"amqps://me:pw@localhost:{port}/v"
            yield Installation(run_dir / "site", url, broker=f'ca_file = "{expired}"'), words
    else:
        site = Installation(run_dir / "site", url, broker=more)
        if case == "no_host":
            assert site.lamplighter("broker", "users", "--passwords").code == 0
        yield site, words


def test_command_hook_and_worker_say_why_there_is_no_connection(
    wrong: tuple[Installation, str],
) -> None:
    site, words = wrong
    result = site.lamplighter("topology", "apply")
    assert (result.code, len(result.err.splitlines())) == (3, 1)
    assert words in result.err
    site.make_hook_folders()
    controller = Controller(site)
    assert controller.hook("resume", "node1").code == 0
    assert words in controller.log
    with site.start("worker", "audit"):
        until(lambda: words in site.logs(), 20.0, words)


def test_a_missing_topology_is_said_with_the_command_that_creates_it(
    run_dir: Path, broker_url: str
) -> None:
    site = Installation(run_dir / "site", broker_url)
    for arguments in (("dead-letters", "list"), ("dead-letters", "show", "x")):
        result = site.lamplighter(*arguments)
        assert result.code == 3
        assert "run lamplighter topology apply" in result.err
    site.make_hook_folders()
    controller = Controller(site)
    assert controller.hook("resume", "node1").code == 0
    assert "run lamplighter topology apply" in controller.log
    status = site.lamplighter("status")
    assert "queues are missing: " in status.out
    assert "run lamplighter topology apply" in status.out


def login(url: str, ca_file: Path | None = None) -> SourceError:
    source = PasswordSource(username="u", password_command=("true",))
    settings = CloudSettings(auth_url=url, project_id="p", source=source)
    with pytest.raises(SourceError) as caught:
        Keystone(settings, Http(ca_file)).login({"methods": ["password"]}, "the remedy")
    return caught.value


def test_a_login_says_why_auth_url_is_wrong(run_dir: Path) -> None:
    certificate = make_certificate(run_dir)
    with web_server() as plain, web_server(certificate) as tls:
        wrong_path = login(f"http://localhost:{plain}/v3")
        no_tls = login(f"https://localhost:{plain}/v3")
        cut_off = login(f"http://localhost:{tls}/v3")
        untrusted = login(f"https://localhost:{tls}/v3")
        other_name = login(f"https://127.0.0.1:{tls}/v3", certificate)
        right_ca = login(f"https://localhost:{tls}/v3", certificate)
    assert (wrong_path.error, right_ca.error) == ("misconfigured", "misconfigured")
    assert "correct this cloud's auth_url" in str(wrong_path.remedy)
    assert (no_tls.error, "write http://" in str(no_tls.remedy)) == ("misconfigured", True)
    assert "if it expects TLS, write https://" in cut_off.message
    assert untrusted.error == "untrusted_certificate"
    assert "name the authority that signed it in ca_file" in str(untrusted.remedy)
    assert "the certificate's own name" in str(other_name.remedy)
