"""Requests tokens from the token service: one request at a time for each cloud."""

import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import Self, TypeVar

import structlog

from producers.amqp import connection_parameters
from producers.message import Message
from schemas import ids
from schemas.errors import MalformedMessageError
from schemas.fields import shown
from workers.broker import outgoing, topology
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.broker.roles import NOT_ALLOWED, may_say
from workers.broker.sender_check import alarm
from workers.broker.topology import REPLY_TO
from workers.config.settings import Settings
from workers.errors import (
    BrokerAwayError,
    BrokerError,
    RefusedError,
    TokenError,
    TokenRefusedError,
    TokenServiceAwayError,
)
from workers.tokens.callers import service_user
from workers.tokens.rpc import (
    Answer,
    TokenGrant,
    TokenRefusal,
    TokenReport,
    TokenRequest,
    encode,
    parse_answer,
)

_Expected = TypeVar("_Expected", TokenGrant, TokenReport)

# How often a request is sent within its time limit: its reply can be lost with a connection.
_TRIES = 3
# Seconds until the next try after the broker has refused: a queue that gets a new leader refuses.
_AGAIN_SECONDS = 0.3


class TokenClient:
    """A separate connection to the broker, and the open requests on it.

    A context manager: connected until its exit. Any thread may call any method. The broker's list of
    connections shows the worker's `name`.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        parameters = connection_parameters(settings.broker, f"{name} tokens")
        self._timeout = settings.tokens.timeout
        self._service_user = service_user(settings)
        self._cluster = settings.cluster
        users, role = settings.broker.users, settings.broker.role
        self._may_alarm = users is None or may_say(role, topology.EVENTS, NOT_ALLOWED)
        self._log = structlog.get_logger()
        self._lock = threading.Lock()
        self._flights: dict[TokenRequest, Future[TokenGrant]] = {}
        self._replies: dict[str, Future[Answer]] = {}
        self._link = Link(parameters, {REPLY_TO: 1}, self._on_reply, self._on_up)

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def fetch(self, cloud: str, refused: str | None = None) -> TokenGrant:
        """Get a token for a cloud; threads with the same request at the same time share it.

        `refused` is the SHA-256 (hex) of a token to which the cloud responded with 401.

        Raises:
            TokenServiceAwayError: the token service did not respond in time.
            TokenRefusedError: this cloud has no token now.
        """
        request = TokenRequest(cloud, refused)
        with self._lock:
            flight = self._flights.get(request)
            mine = flight is None
            if flight is None:
                flight = self._flights[request] = Future()
        if mine:
            try:
                flight.set_result(self._request(request, TokenGrant))
            except TokenError as error:
                flight.set_exception(error)
            except BaseException:
                flight.set_exception(TokenServiceAwayError("the request was cancelled"))
                raise
            finally:
                with self._lock:
                    del self._flights[request]
        return flight.result()

    def report(self, cloud: str) -> TokenReport:
        """Get the state of a cloud's token, without a login.

        Raises:
            TokenServiceAwayError: the token service did not respond in time.
            TokenRefusedError: the service does not know the cloud, or does not serve this user.
        """
        return self._request(TokenRequest(cloud, look=True), TokenReport)

    def revoke(self, cloud: str) -> TokenReport:
        """End the login of a cloud; the report's remedy is what is left to do. Errors as in `report`."""
        return self._request(TokenRequest(cloud, revoke=True), TokenReport)

    def _request(self, request: TokenRequest, expected: type[_Expected]) -> _Expected:
        deadline = time.monotonic() + self._timeout
        problem = "no connection to the broker"
        while (left := deadline - time.monotonic()) > 0 and self._link.wait_up(left):
            try:
                answer = self._once(request, deadline)
            except (BrokerAwayError, RefusedError) as error:
                problem = str(error)
                time.sleep(_AGAIN_SECONDS)
                continue  # a repeated request is harmless
            except BrokerError as error:
                raise TokenServiceAwayError(
                    f"the broker does not accept the request: {error}"
                ) from None
            except TimeoutError:
                raise TokenServiceAwayError(
                    f"the token service has not responded within {self._timeout:g} s"
                ) from None
            if isinstance(answer, TokenRefusal):
                raise TokenRefusedError(answer.error, answer.message, permanent=answer.permanent)
            if isinstance(answer, expected):
                return answer
            raise TokenServiceAwayError(
                f"the token service responds with a {type(answer).__name__}"
            )
        raise TokenServiceAwayError(problem)

    def _once(self, request: TokenRequest, deadline: float) -> Answer:
        correlation_id = ids.correlation_id()
        reply: Future[Answer] = Future()
        with self._lock:
            self._replies[correlation_id] = reply
        try:
            while True:
                left = max(0.0, deadline - time.monotonic())
                seconds = min(left, self._timeout / _TRIES)
                self._send(request, correlation_id, seconds)
                try:
                    return reply.result(seconds)
                except TimeoutError:
                    if time.monotonic() >= deadline:
                        raise
        finally:
            with self._lock:
                del self._replies[correlation_id]

    def _send(self, request: TokenRequest, correlation_id: str, seconds: float) -> None:
        sent = self._link.publish(
            Message(
                topology.TOKENS,
                topology.TOKEN_KEY,
                encode(request),
                id=correlation_id,
                reply_to=REPLY_TO,
                correlation_id=correlation_id,
                # then it is repeated; an answer to a broker node that hangs would hold up all others
                expiration=int(seconds * 1000),
                persistent=False,
            )
        )
        try:
            sent.result(seconds)
        except TimeoutError:
            raise BrokerAwayError("it confirms nothing") from None

    # -- in the link's thread

    def _on_up(self, _connection: int) -> None:
        """Fail the requests that were sent over the lost connection: their replies are lost."""
        with self._lock:
            replies = list(self._replies.values())
        for reply in replies:
            if not reply.done():
                reply.set_exception(BrokerAwayError("the connection ended before the reply"))

    def _on_reply(self, delivery: Delivery) -> None:
        if delivery.user_id != self._service_user:
            # the answer of the token service may still come
            self._log.error("token_reply_refused", user=delivery.user_id)
            if self._may_alarm:
                why = f"{shown(delivery.user_id)} answers in place of the token service"
                # its body might hold a token: no digest of it leaves this process
                forged = replace(delivery, refusal=why, body=b"", queue=REPLY_TO)
                self._link.publish(outgoing.event(alarm(forged, self._cluster)))
            return
        with self._lock:
            reply = self._replies.get(delivery.correlation_id or "")
        if reply is None or reply.done():
            return
        try:
            reply.set_result(parse_answer(delivery.body))
        except MalformedMessageError as error:
            reply.set_exception(TokenServiceAwayError(str(error)))
