"""Who may ask the token service for what, and who is the token service: broker users. Pure."""

from dataclasses import dataclass

from schemas.fields import shown
from schemas.roles import Role
from workers.broker.roles import AUTHORITIES
from workers.config.settings import Settings
from workers.tokens.rpc import TokenRequest


@dataclass(frozen=True, slots=True)
class Callers:
    """The broker users that get tokens, that get reports only, and that may end a login."""

    fetch: frozenset[str]
    look: frozenset[str]
    revoke: frozenset[str]

    def refusal(self, user: str, request: TokenRequest) -> str | None:
        """Why this user does not get what it requests; None if it does."""
        if request.revoke:
            if user in self.revoke:
                return None
            return f"the broker user {shown(user)} may not end a login: only operators may"
        if user in self.fetch or (request.look and user in self.look):
            return None
        return (
            f"the broker user {shown(user)} may not request a {'report' if request.look else 'token'}:"
            " it is not in tokens.allowed_users, nor does its role need it"
        )


def callers(settings: Settings) -> Callers:
    """By tokens.allowed_users; otherwise by role; otherwise the one user that serves all roles."""
    named, users = settings.tokens.allowed_users, settings.broker.users
    if users is None:
        everybody = frozenset(named or (settings.broker.user,))
        return Callers(everybody, frozenset(), everybody)
    asking = {role for role, authority in AUTHORITIES.items() if authority.asks}
    fetching = {users.name(role) for role in asking if AUTHORITIES[role].fetches}
    ending = frozenset({users.name(Role.OPERATOR)})
    return Callers(frozenset(named or fetching), frozenset(map(users.name, asking)), ending)


def service_user(settings: Settings) -> str:
    """The user whose replies count: tokens.service_user, otherwise that of the role, or our own."""
    if settings.tokens.service_user is not None:
        return settings.tokens.service_user
    users = settings.broker.users
    return settings.broker.user if users is None else users.name(Role.TOKENS)
