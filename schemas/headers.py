"""What a command's delivery, or a dead letter, carries beside its body: AMQP headers of our own.

x-death is frozen when a client republishes on RabbitMQ 4, hence an attempt header of our own.
"""

ATTEMPT = "x-attempt"  # failed attempts so far
ROUND = "x-round"  # from 1; a replay or a discard opens the next
PARKED = "x-parked"  # how often it was parked in this round, attempts unchanged
ERRORS = "x-errors"  # JSON list of {"attempt", "time", "error", "message"}, newest last
DIED_IN = "x-died-in"  # the work queue where a dead letter died
CAUSE = "x-cause"  # the class of the error it died of
CAUSE_MESSAGE = "x-cause-message"
DIED_AT = "x-died-at"  # RFC 3339
WEBHOOK = "x-webhook"  # which one did not take this event; of notifications alone
