"""`lamplighter tokens login`: logs an operator in, or stores a new secret."""

import sys
import time
from urllib.parse import urlsplit

import click

from ops.cli.session import Session, pass_session
from ops.cli.terminal import duration_of, moment, plain, print_line
from ops.site.tokens import cloud_of
from producers.settings import ConfigError
from workers.config.groups import CloudSettings
from workers.config.logins import RefreshTokenSource
from workers.tokens.credential import credential
from workers.tokens.device import device_endpoint, poll_for_tokens, request_device_code
from workers.tokens.errors import SourceError
from workers.tokens.secret import SecretFile
from workers.tokens.secret_writer import require_writable, write_secret
from workers.tokens.sources import provider_http

_NS = 1_000_000_000


@click.command
@click.argument("cloud")
@click.option("--paste", is_flag=True, help="Read a secret from the terminal or from stdin.")
@pass_session
def login(session: Session, cloud: str, *, paste: bool) -> None:
    """Log in to CLOUD's login provider, and store the refresh token.

    If the provider does not support device codes, and for other kinds of secrets, enter the new
    secret on the terminal (it is not shown) or on standard input.
    """
    settings = cloud_of(session, cloud)
    secret = credential(settings.source)
    if not isinstance(secret, SecretFile):
        raise ConfigError(
            f"{session.settings.path}: clouds.{cloud}.source: the secret is {secret.place};"
            " store the new secret there"
        )
    require_writable(secret.path)
    text = (None if paste else _log_in(settings)) or _typed(settings)
    write_secret(secret.path, text, session.settings.tokens.key_file)
    print_line(f"stored in {secret.path}; a running token service reads it from there")
    print_line(f"test it: lamplighter tokens test {cloud}")


def _log_in(settings: CloudSettings) -> str | None:
    """A refresh token by device code; None if the source or the provider does not support it."""
    source = settings.source
    if not isinstance(source, RefreshTokenSource):
        return None
    http = provider_http(source, insecure=settings.insecure)
    try:
        endpoint = device_endpoint(http, source.token_endpoint)
        if endpoint is None:
            return None
        code = request_device_code(http, source, endpoint)
        print_line("Open this address in a browser, on any machine, and confirm:")
        print_line(f"  {code.full_url or code.url}", style="bold", whole=True)  # to be copied
        print_line(f"with the code  {code.user_code}")
        print_line(f"(valid for {duration_of(code.expires_in)})")
        tokens = poll_for_tokens(http, source, code)
    except SourceError as error:
        text = f"{error.message}; {error.remedy}" if error.remedy else error.message
        raise click.ClickException(plain(text)) from None
    until = ""
    if (seconds := tokens.refresh_expires_in) is not None:
        ends = time.time_ns() + int(seconds * _NS)
        until = f"; unless used, it expires at {moment(ends)}"
    print_line(f"logged in{until}")
    return tokens.refresh_token


def _typed(settings: CloudSettings) -> str:
    source = settings.source
    what = "New secret"
    if isinstance(source, RefreshTokenSource):
        what = "Refresh token"
        click.echo(
            f"Get a refresh token from {urlsplit(source.token_endpoint).netloc}, for client"
            f" {plain(source.client_id)}, with scope offline_access.\n"
            "At EGI: log in at https://aai.egi.eu/token and create one.",
            err=True,
        )
    typed = (
        click.prompt(what, hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    )
    text = str(typed).strip()
    if not text or not text.isprintable():
        raise click.ClickException("nothing was stored: a secret is one line of printable text")
    return text
