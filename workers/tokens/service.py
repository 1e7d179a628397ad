"""`lamplighter worker tokens`: answers requests for tokens over RabbitMQ.

Replies go to a queue that only the client's connection can use, and that ends with it. The user id
that the broker has validated identifies the client.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

import sqlalchemy as sa
import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from producers.amqp import connection_parameters
from producers.message import Message
from schemas import ids
from schemas.errors import MalformedMessageError
from schemas.fields import shown
from workers.broker import outgoing, topology
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.broker.roles import reply_prefix
from workers.broker.sender_check import CAUSE, alarm
from workers.config.logins import RefreshTokenSource
from workers.config.settings import Settings
from workers.process.runtime import declare_topology, runtime
from workers.process.stop import Stop
from workers.tokens.alarms import Alarms
from workers.tokens.callers import callers
from workers.tokens.issuer import Issuer
from workers.tokens.revocations import Revocations
from workers.tokens.rpc import Answer, TokenRefusal, TokenReport, encode, parse_request
from workers.tokens.source import Source
from workers.tokens.sources import make_source
from workers.tokens.vault import Vault, forget_other_ends
from workers.tokens.vault_key import load_keys

_PREFETCH = 200
_TICK = 0.5
# Part of the client's timeout; the rest is for the messages.
_WAIT = 0.6


class TokenService:
    """Answers requests for tokens from the source of each cloud.

    The broker's list of connections shows `name`.
    """

    def __init__(self, settings: Settings, name: str, sources: Mapping[str, Source]) -> None:
        parameters = connection_parameters(settings.broker, name)
        self._callers = callers(settings)
        self._log = structlog.get_logger()
        self.link = Link(parameters, {topology.TOKEN_QUEUE: _PREFETCH}, self._on_delivery)
        self._alarms = Alarms(self.link, settings.cluster)
        self._cluster = settings.cluster
        self.issuers = {
            cloud: Issuer(
                cloud,
                source,
                alarm=partial(self._alarms.alarm, cloud),
                longest_wait=settings.tokens.timeout * _WAIT,
            )
            for cloud, source in sources.items()
        }

    def run(self, stop: Stop) -> None:
        """Serve until `stop` is set; running fetches end first."""
        self.link.start()
        try:
            while stop.next_turn() and not stop.wait(_TICK):
                self.tick()
        finally:
            self.link.pause()
            for issuer in self.issuers.values():
                issuer.close()
            self.link.stop()

    def tick(self) -> None:
        """Do what is due by time."""
        for issuer in self.issuers.values():
            issuer.tick()
        self._alarms.tick()

    def _on_delivery(self, delivery: Delivery) -> None:
        reply_to, user = delivery.reply_to, delivery.user_id
        # an answer to any other address could reach, and be stored in, any queue
        if user is None or reply_to is None or not reply_to.startswith(reply_prefix(user)):
            self._log.warning("token_request_dropped", reason="no queue of its own", user=user)
            self.link.ack([delivery])
            return
        try:
            request = parse_request(delivery.body)
        except MalformedMessageError as error:
            self._refuse(delivery, "malformed", str(error), reason=error.problem)
            return
        if (refusal := self._callers.refusal(user, request)) is not None:
            refused = replace(delivery, refusal=refusal)
            self._alarms.send(outgoing.event(alarm(refused, self._cluster)))
            self._refuse(delivery, CAUSE, refusal, reason="user not allowed")
            return
        issuer = self.issuers.get(request.cloud)
        if issuer is None:
            text = f"the token service's configuration has no cloud {shown(request.cloud)}"
            self._refuse(delivery, "unknown_cloud", text, reason=text)
        elif request.revoke:
            issuer.revoke(lambda answer: self._reply(delivery, answer))
        elif request.look:
            self._reply(delivery, issuer.report())
        else:
            issuer.request(request.refused, lambda answer: self._reply(delivery, answer))

    def _refuse(self, delivery: Delivery, error: str, message: str, *, reason: str) -> None:
        self._log.warning("token_request_refused", reason=reason, user=delivery.user_id)
        self._reply(delivery, TokenRefusal(error, message, permanent=True))

    def _reply(self, delivery: Delivery, answer: Answer) -> None:
        """Acknowledge the request and answer it; a client without an answer repeats it.

        In this order: an answer that ends our connection must not bring its request back again and
        again.
        """
        self.link.ack([delivery])
        sent = self.link.publish(
            Message(
                exchange=topology.TOKEN_REPLIES,
                routing_key=delivery.reply_to or "",
                body=encode(answer),
                id=ids.correlation_id(),
                # the client may be gone
                mandatory=False,
                correlation_id=delivery.correlation_id,
                persistent=False,
            )
        )
        sent.add_done_callback(self._replied)

    def _replied(self, sent: Future[None]) -> None:
        error = sent.exception()
        if error is not None:
            self._log.info("token_reply_not_sent", error=type(error).__name__)


class TokenMetrics(Collector):
    """The metrics of all logins, collected for each scrape."""

    def __init__(self, reports: Callable[[], Mapping[str, TokenReport]]) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        """Collect the metrics."""
        text = "Seconds for which the held token is still served; 0 if none is held."
        left = GaugeMetricFamily("lamplighter_token_left_seconds", text, labels=["cloud"])
        text = "1 if the last login to a cloud failed, else 0."
        failing = GaugeMetricFamily("lamplighter_login_failing", text, labels=["cloud"])
        for cloud, report in self._reports().items():
            left.add_metric([cloud], report.left or 0.0)
            failing.add_metric([cloud], float(report.trouble is not None))
        yield left
        yield failing


def main(settings: Settings) -> int:
    """Run until SIGTERM.

    Raises:
        ConfigError: the configuration cannot be used.
        sqlalchemy.exc.OperationalError: the store cannot be reached.
    """
    with runtime("tokens", settings) as run:
        sources = make_sources(settings, run.store, run.name)
        declare_topology(run)
        run.state = f"serving {len(sources)} clouds"
        service = TokenService(settings, run.name, sources)
        run.link = service.link
        run.registry.register(
            TokenMetrics(lambda: {c: issuer.report() for c, issuer in service.issuers.items()})
        )
        run.trouble = lambda: trouble_of({c: one.report() for c, one in service.issuers.items()})
        service.run(run.stop)
    return 0


def trouble_of(reports: Mapping[str, TokenReport]) -> str | None:
    """The logins that failed, why, and the remedy; None if none did."""
    failed = {cloud: one for cloud, one in reports.items() if one.trouble}
    words = (
        f"{cloud}: {one.trouble}" + (f"; {one.remedy}" if one.remedy else "")
        for cloud, one in failed.items()
    )
    return f"logins fail: {', '.join(words)}" if failed else None


def make_sources(settings: Settings, store: sa.Engine, owner: str) -> dict[str, Source]:
    """The source of each cloud in the configuration; the store forgets the ends of other logins."""
    clouds = settings.clouds.items()
    logins = {
        name: (source.secret, source.token_endpoint, source.client_id)
        for name, cloud in clouds
        if isinstance(source := cloud.source, RefreshTokenSource)
    }
    forget_other_ends(store, list(logins))
    vaults: dict[str, Vault] = {}

    def vault_of(cloud: str) -> Vault:
        """One for all clouds with the same login: to a provider that rotates, a second use is a theft."""
        first = min(name for name, login in logins.items() if login == logins[cloud])
        made = Vault(store, load_keys(settings.tokens.key_file), first, owner)
        return vaults.setdefault(first, made)

    return {
        name: make_source(cloud, partial(vault_of, name), Revocations(store, name))
        for name, cloud in clouds
    }
