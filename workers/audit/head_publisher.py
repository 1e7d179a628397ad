"""Signs the log's head at intervals, and publishes it to the store, a file and the process log."""

import time

import sqlalchemy as sa
import structlog

from producers.settings import ConfigError
from workers.audit.heads import export_head, sign_head
from workers.audit.signing import Signer, load_signer
from workers.process.runtime import Runtime


class HeadPublisher:
    """Signs heads. Failures are logged, and never prevent events from being recorded.

    `trouble` is the last failure, for `lamplighter status`; None if there is none.
    """

    def __init__(self, run: Runtime, engine: sa.Engine) -> None:
        self._run = run
        self._engine = engine
        self._settings = run.settings.audit
        self._log = structlog.get_logger()
        self._signer: Signer | None = None
        self.trouble: str | None = None
        self._due = time.monotonic()

    def publish_if_due(self) -> None:
        """Publish the head if the interval has passed."""
        if time.monotonic() >= self._due:
            self.publish()
            self._due = time.monotonic() + self._settings.heads_every

    def publish(self) -> None:
        """Sign and publish the current head, if it has changed since the last time."""
        try:
            if self._signer is None:
                self._signer = load_signer(self._settings.key_file)
                self.trouble = None
            head = sign_head(self._engine, self._run.settings.cluster, self._signer, time.time_ns())
            if head is None:
                return
            self.trouble = None
            self._log.info("audit_head", **head.statement)
        except ConfigError as error:
            self._log.error("audit_head_unsigned", problem=str(error))
            self.trouble = f"the log's head is not signed: {error}"
            return
        except sa.exc.SQLAlchemyError as error:
            self._run.lose_store(error, "audit_store_away")
            return
        try:
            export_head(self._settings.heads_file, head)
        except ConfigError as error:
            remedy = "`lamplighter audit heads` prints the missing heads"
            self._log.error("audit_head_not_exported", problem=str(error), remedy=remedy)
            self.trouble = f"{error}; {remedy}"
