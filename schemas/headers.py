"""AMQP headers of commands and dead letters.

RabbitMQ 4 does not count on in x-death when a client republishes, so attempts have a header of our own.
"""

ATTEMPT = "x-attempt"  # failed attempts so far
ROUND = "x-round"  # from 1; a replay or a discard opens the next
PARKED = "x-parked"  # how often it was parked in this round, attempts unchanged
ERRORS = "x-errors"  # JSON list of {"attempt", "time", "error", "message"}, newest last
DIED_IN = "x-died-in"  # the work queue in which a dead letter failed
CAUSE = "x-cause"  # the class of the error it failed with
CAUSE_MESSAGE = "x-cause-message"
DIED_AT = "x-died-at"  # RFC 3339
WEBHOOK = "x-webhook"  # the webhook that did not accept this event; notifications only
# The broker user that published the request first; the power worker sets it.
ASKED_BY = "x-asked-by"
