"""`lamplighter tokens status` and `test`: the state of the logins to the clouds."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import click
import sqlalchemy as sa

from ops.cli.errors import EXIT_AWAY, STORE_ERRORS, noting
from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import (
    Columns,
    duration,
    duration_of,
    json_moment,
    plain,
    print_json,
    print_line,
    print_rows,
    short_moment,
    warn,
)
from workers.config.groups import CloudSettings
from workers.config.logins import RefreshTokenSource
from workers.errors import TokenError, TokenRefusedError, TokenServiceAwayError
from workers.store.access import HIDDEN
from workers.store.tables import refresh_tokens
from workers.tokens.client import TokenClient
from workers.tokens.credential import credential
from workers.tokens.errors import SourceError
from workers.tokens.probe import ProbeResult, probe
from workers.tokens.rpc import TokenReport
from workers.tokens.scoped import digest_of
from workers.tokens.secret import SecretFile

_CHECK_SERVICE = "check tokens.allowed_users and the clouds in the token service's configuration"


@dataclass(frozen=True, slots=True)
class _Login:
    """The state of one cloud's login.

    Attributes:
        used, ends: of the refresh token, ns since the epoch; None if unknown.
        fresh: whether the file contains a refresh token that has not been used yet.
        report: the token service's; None if it did not answer.
    """

    source: str
    place: str
    used: int | None = None
    ends: int | None = None
    fresh: bool = False
    report: TokenReport | None = None

    @property
    def token(self) -> str | None:
        """The state of the token service's Keystone token, in words."""
        if self.report is None:
            return None
        left = self.report.left
        return "none yet" if left is None else f"valid for {duration_of(left)}"

    @property
    def trouble(self) -> str | None:
        """What is wrong, with the remedy."""
        if self.report is None or self.report.trouble is None:
            return None
        return f"{self.report.trouble}; {self.report.remedy or 'it will be retried'}"


_COLUMNS: Columns[tuple[str, _Login]] = {
    "cloud": lambda row: row[0],
    "source": lambda row: row[1].source,
    "token": lambda row: row[1].token,
    "last login": lambda row: "new, not used yet" if row[1].fresh else short_moment(row[1].used),
    "expires unless used": lambda row: None if row[1].fresh else _ends(row[1].ends),
    "secret": lambda row: row[1].place,
}


@click.command
@json_option()
@pass_session
def status(session: Session, *, as_json: bool) -> None:
    """Show the state of each cloud's login.

    Exit code 1: a login does not work. The command itself does not log in.
    """
    clouds = session.settings.clouds
    problems: list[str] = []
    rows: Mapping[str, Any] = {}
    reports: Mapping[str, TokenReport] = {}
    with noting(problems, *STORE_ERRORS), session.reading("state") as connection:
        shown = sa.select(*(column for column in refresh_tokens.c if column not in HIDDEN))
        rows = {row.cloud: row for row in connection.execute(shown)}
    with noting(problems, TokenServiceAwayError), session.token_client() as client:
        reports = {cloud: report_of(client, cloud) for cloud in clouds}
    logins = {
        name: _login(cloud, rows.get(name), reports.get(name)) for name, cloud in clouds.items()
    }
    if as_json:
        clouds_json = {name: _as_json(login) for name, login in logins.items()}
        print_json({"clouds": clouds_json, "problems": problems})
    else:
        _print(logins, problems)
    if problems:
        raise SystemExit(EXIT_AWAY)
    if any(login.trouble for login in logins.values()):
        raise SystemExit(1)


@click.command
@click.argument("cloud")
@pass_session
def test(session: Session, cloud: str) -> None:
    """Get a token for CLOUD from the token service, and list one server with it."""
    settings = cloud_of(session, cloud)
    with session.token_client() as client:
        try:
            tried = probe(client, cloud, settings, session.settings.power.api_timeout)
        except TokenRefusedError as error:
            problem = f"no token for {cloud}: {error.error}: {error}"
            raise click.ClickException(plain(f"{problem}; {_remedy(client, cloud)}")) from None
    _print_test(cloud, tried)
    if tried.remedy is not None:
        raise click.ClickException(plain(f"{cloud} {tried.answer}; {tried.remedy}"))


def cloud_of(session: Session, name: str) -> CloudSettings:
    """The settings of a cloud; click.BadParameter if the configuration does not have it."""
    clouds = session.settings.clouds
    if name not in clouds:
        known = ", ".join(clouds) or "none"
        raise click.BadParameter(
            f"there is no cloud {name!r} in {session.settings.path}; it has {known}"
        )
    return clouds[name]


def report_of(client: TokenClient, cloud: str) -> TokenReport:
    """The state of a cloud's login; a service that knows no such cloud is trouble of that cloud alone."""
    try:
        return client.report(cloud)
    except TokenRefusedError as error:
        return TokenReport(trouble=f"{error.error}: {error}", remedy=_CHECK_SERVICE)


def _login(cloud: CloudSettings, row: Any, report: TokenReport | None) -> _Login:  # noqa: ANN401 - a row
    secret = credential(cloud.source)
    fresh = False
    if not isinstance(cloud.source, RefreshTokenSource):
        row = None  # of a login that this one has replaced
    if row is not None and row.seed is not None and isinstance(secret, SecretFile):
        with suppress(SourceError):  # unknown if this user cannot read the file
            fresh = digest_of(secret.read()) != row.seed
    return _Login(
        source=str(type(cloud.source).__struct_config__.tag),
        place=secret.place,
        used=None if row is None else row.rotated_at,
        ends=None if row is None else row.expires_at,
        fresh=fresh,
        report=report,
    )


def _print(logins: Mapping[str, _Login], problems: list[str]) -> None:
    print_rows(_COLUMNS, logins.items(), empty="no clouds are configured")
    for name, login in logins.items():
        if login.trouble is not None:
            print_line(f"cloud {name}: {login.trouble}", style="bold")
    for problem in problems:
        warn(problem)


def _ends(end: int | None) -> str | None:
    if end is None:
        return None
    left = end - time.time_ns()
    return f"{short_moment(end)} ({f'in {duration(left)}' if left > 0 else 'expired'})"


def _as_json(login: _Login) -> dict[str, object]:
    return {
        **{key: value for key, value in asdict(login).items() if key != "report"},
        "used": json_moment(login.used),
        "ends": json_moment(login.ends),
        "token_seconds_left": None if login.report is None else login.report.left,
        "trouble": login.trouble,
    }


def _print_test(cloud: str, tried: ProbeResult) -> None:
    print_line(f"cloud {cloud}: a token that is valid until {tried.expires}", style="bold")
    for label, value in (
        ("user", tried.user),
        ("project", tried.project),
        ("roles", ", ".join(tried.roles)),
        ("compute", tried.endpoint),
        ("servers", f"{cloud} {tried.answer}"),
    ):
        print_line(f"{label:<9}{value or 'none'}")


def _remedy(client: TokenClient, cloud: str) -> str:
    try:
        return client.report(cloud).remedy or "it will be retried"
    except TokenError:
        return _CHECK_SERVICE
