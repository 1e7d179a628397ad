"""`lamplighter tokens login`: log a person in, or put a new secret where it is read from."""

import sys
import time
from urllib.parse import urlsplit

import click

from ops.cli.session import Session, pass_session
from ops.cli.terminal import duration, moment, plain, print_line
from ops.site.tokens import cloud_of
from producers.settings import ConfigError
from workers.config.groups import CloudSettings
from workers.config.logins import RefreshTokenSource
from workers.tokens.credential import credential
from workers.tokens.device import ask, device_endpoint, wait
from workers.tokens.errors import SourceError
from workers.tokens.secret import SecretFile
from workers.tokens.secret_writer import require_writable, write_secret
from workers.tokens.transport import Http

_NS = 1_000_000_000


@click.command
@click.argument("cloud")
@click.option(
    "--paste", is_flag=True, help="Take a secret that you have, on the terminal or stdin."
)
@pass_session
def login(session: Session, cloud: str, *, paste: bool) -> None:
    """Log in to CLOUD's login provider, and put the refresh token where it is read from.

    Where the provider offers no login by device code, and for the other kinds of secrets, the new
    one is asked for without echo, or read from standard input.
    """
    settings = cloud_of(session, cloud)
    secret = credential(settings.source)
    if not isinstance(secret, SecretFile):
        raise ConfigError(
            f"{session.settings.path}: clouds.{cloud}.source: the secret is {secret.place};"
            " put the new one there"
        )
    require_writable(secret.path)
    text = None if paste else _log_in(settings)
    if text is None:
        text = _typed(settings)
    write_secret(secret.path, text, session.settings.tokens.key_file)
    print_line(f"written to {secret.path}; a running token service takes it from there by itself")
    print_line(f"try it: lamplighter tokens test {cloud}")


def _log_in(settings: CloudSettings) -> str | None:
    """A refresh token by device code; None where there is no such login."""
    source = settings.source
    if not isinstance(source, RefreshTokenSource):
        return None
    http = Http(settings.ca_file)
    try:
        endpoint = device_endpoint(http, source.token_endpoint)
        if endpoint is None:
            return None
        code = ask(http, source, endpoint)
        print_line("Open this address in a browser, on any machine, and agree:")
        print_line(f"  {code.full_url or code.url}", style="bold")
        print_line(f"with the code  {code.user_code}")
        print_line(f"(it is good for {duration(round(code.expires_in * _NS))})")
        tokens = wait(http, source, code)
    except SourceError as error:
        words = f"{error.message}; {error.remedy}" if error.remedy else error.message
        raise click.ClickException(plain(words)) from None
    ends = tokens.refresh_expires_in
    until = "" if ends is None else f"; unless used, until {moment(_in(ends))}"
    print_line(f"logged in{until}")
    return tokens.refresh_token


def _typed(settings: CloudSettings) -> str:
    source = settings.source
    what = "The new secret"
    if isinstance(source, RefreshTokenSource):
        what = "Refresh token"
        click.echo(
            f"A refresh token is needed: of {urlsplit(source.token_endpoint).netloc}, for client"
            f" {plain(source.client_id)}, with scope offline_access.\n"
            "At EGI: log in at https://aai.egi.eu/token and create one.",
            err=True,
        )
    if sys.stdin.isatty():
        text = str(click.prompt(what, hide_input=True, err=True))
    else:
        text = sys.stdin.read()
    text = text.strip()
    if not text or not text.isprintable():
        raise click.ClickException("nothing was written: a secret is one line of text")
    return text


def _in(seconds: float) -> int:
    return time.time_ns() + int(seconds * _NS)
