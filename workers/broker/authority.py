"""Whether a delivery's sender may say what it says. Pure.

The sender is the broker user that the broker has validated (the property `user_id`), never a name in
the body. Routing key and type must agree, so that permissions on routing keys mean something.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from producers.broker_settings import BrokerUsers
from schemas import headers
from schemas.envelope import MOST_BYTES, Envelope, parse
from schemas.errors import MalformedMessageError
from schemas.fields import shown
from schemas.roles import Role
from workers.broker.delivery import Delivery
from workers.broker.roles import AUTHORITIES, may_say
from workers.broker.topology import (
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    NOTIFY_AGAIN,
    QUARANTINE,
    REQUEUE,
    RETRY_TIERS,
)

_TYPE = re.compile(r"lamplighter\.(.+)\.v[0-9]+")
_TIER = next(iter(RETRY_TIERS))
# Where messages go that were published before: by our workers and operators, or by the broker.
_RETURNS = frozenset({REQUEUE, DEAD_LETTERS})


def judged(delivery: Delivery, users: BrokerUsers | None) -> Delivery:
    """The delivery with its sender, its event, and why it is refused, if it is.

    `users` are the roles' users; None if one user serves all roles: then any user is ours.
    """
    content: Envelope | MalformedMessageError
    problem = None
    if not _comes_again(delivery, users):
        # what its sender says of earlier rounds and attempts counts for nothing; x-death is the broker's
        raw = {name: value for name, value in delivery.headers.items() if name == "x-death"}
        delivery = replace(delivery, headers=raw)
    try:
        content = event_in(delivery.body)
    except MalformedMessageError as error:
        # its queue's worker rejects it
        content = error
    else:
        problem = _key_problem(delivery, content.type)
    sender = requester(delivery.user_id, delivery.headers, delivery.exchange, users)
    if users is not None:
        problem = _sender_problem(delivery, sender, users) or problem
    return replace(delivery, sender=sender, refusal=problem, content=content)


def event_in(body: bytes) -> Envelope:
    """The event in a message from the broker; raises MalformedMessageError, also if it is too large."""
    if len(body) > MOST_BYTES:
        raise MalformedMessageError("body", f"is larger than {MOST_BYTES} bytes", "split it")
    return parse(body)


def _comes_again(delivery: Delivery, users: BrokerUsers | None) -> bool:
    """Whether a message was published by one who may retry, replay or give up."""
    if delivery.exchange not in _RETURNS:
        return False
    if users is None:
        return True
    role = users.role(delivery.user_id)
    return role is not None and not _RETURNS.isdisjoint(AUTHORITIES[role].says)


def requester(
    user: str | None, raw: Mapping[str, Any], exchange: str, users: BrokerUsers | None
) -> str | None:
    """The user with whose authority a message came, given the user that published it last.

    A request that returns from a retry tier, or that an operator replays, keeps the authority of its
    first sender, which the power worker has written into its headers, `raw`.
    """
    first = raw.get(headers.ASKED_BY)
    if exchange == COMMANDS or not isinstance(first, str) or not first:
        return user
    if users is None or users.role(user) in {Role.POWER, Role.OPERATOR, Role.CONSOLE}:
        return first
    return user


def _key_problem(delivery: Delivery, type_: str) -> str | None:
    exchange, key, who = delivery.exchange, delivery.routing_key, _who(delivery.user_id)
    found = _TYPE.fullmatch(type_)
    own = None if found is None else found[1]
    if exchange == DEAD_LETTERS and key.startswith(f"{QUARANTINE}."):
        return None  # of any type: nobody carries it out
    if exchange in {REQUEUE, DEAD_LETTERS} and key == NOTIFY_AGAIN:
        is_event = own is not None and any(may_say(role, EVENTS, own) for role in Role)
        return (
            None
            if is_event
            else f"{who} sent {shown(type_)}, which is not an event, as {shown(key)}"
        )
    if own == key:
        return None
    return f"{who} sent the type {shown(type_)} under the routing key {shown(key)}"


def _sender_problem(delivery: Delivery, sender: str | None, users: BrokerUsers) -> str | None:
    key = delivery.routing_key
    if delivery.exchange == DEAD_LETTERS:
        return _letter_problem(delivery, sender, users)
    if delivery.exchange != REQUEUE:
        return _unless_allowed(users, delivery.user_id, delivery.exchange, key)
    if key == NOTIFY_AGAIN:
        return _unless_allowed(users, delivery.user_id, REQUEUE, key)
    # from a retry tier, or replayed
    role = users.role(delivery.user_id)
    if role is None or not (may_say(role, REQUEUE, key) or may_say(role, _TIER, key)):
        return _refused(delivery.user_id, REQUEUE, key)
    return _unless_allowed(users, sender, COMMANDS, key)


def _letter_problem(delivery: Delivery, sender: str | None, users: BrokerUsers) -> str | None:
    """Whether a worker may give up what it sent here, or the broker what a user had requested.

    The broker keeps the user of what it dead-letters.
    """
    key, role = delivery.routing_key, users.role(delivery.user_id)
    is_command = key != NOTIFY_AGAIN and not key.startswith(f"{QUARANTINE}.")
    exchanges = (DEAD_LETTERS, COMMANDS, REQUEUE) if is_command else (DEAD_LETTERS,)
    if role is None or not any(may_say(role, exchange, key) for exchange in exchanges):
        return _refused(delivery.user_id, DEAD_LETTERS, key)
    return _unless_allowed(users, sender, COMMANDS, key) if is_command else None


def _unless_allowed(users: BrokerUsers, user: str | None, exchange: str, key: str) -> str | None:
    role = users.role(user)
    allowed = role is not None and may_say(role, exchange, key)
    return None if allowed else _refused(user, exchange, key)


def _refused(user: str | None, exchange: str, key: str) -> str:
    return f"{_who(user)} may not say {shown(key)} on exchange {shown(exchange)}"


def _who(user: str | None) -> str:
    return "a sender without a name" if user is None else f"the broker user {shown(user)}"
