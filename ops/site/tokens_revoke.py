"""`lamplighter tokens revoke`: ends a login at once, for a secret that may be in wrong hands."""

import click

from ops.cli.options import confirm, yes_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import plain, print_line
from ops.site.tokens import cloud_of
from workers.errors import TokenRefusedError, TokenServiceAwayError


@click.command
@click.argument("cloud")
@yes_option
@pass_session
def revoke(session: Session, cloud: str, *, yes: bool) -> None:
    """End the login to CLOUD: revoke it at its provider, forget it, and refuse its secret permanently.

    Workers get no token for CLOUD until another secret is in its place: its nodes stay as they are, and
    their requests wait. Exit code 1: something is left to do; it is printed.
    """
    cloud_of(session, cloud)
    confirm(f"Revoke the login to {cloud}, and power none of its nodes until a new login", yes=yes)
    with session.token_client() as client:
        try:
            report = client.revoke(cloud)
        except TokenRefusedError as error:
            raise click.ClickException(plain(f"{error.error}: {error}")) from None
        except TokenServiceAwayError as error:
            text = f"{error}; see lamplighter tokens status, and repeat the command"
            raise TokenServiceAwayError(text) from None
    print_line(f"cloud {cloud}: {report.trouble}", style="bold")
    print_line(f"log in again: lamplighter tokens login {cloud}")
    if report.remedy is not None:
        raise click.ClickException(plain(f"left to do: {report.remedy}"))
