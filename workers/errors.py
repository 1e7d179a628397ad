"""Lamplighter's error classes.

LamplighterError
├── BrokerError             a problem with the broker
│   ├── BrokerAwayError     no connection; unconfirmed messages may be sent again
│   │   └── NoQuorumError   most nodes of the broker are away: its queues do not answer
│   ├── BrokerAlarmError    the broker has no memory or disk space left
│   ├── BrokerLoginError    the broker refused user or password, or access to the virtual host
│   ├── NotDeclaredError    a queue or exchange does not exist
│   ├── AccessRefusedError  the broker's user lacks a permission
│   ├── UnroutableError     the message reached no queue: the topology is missing
│   └── RefusedError        the broker refused the message: a queue is full or has no quorum
├── TokenError              no token for a cloud
│   ├── TokenServiceAwayError   the token service does not answer: all clouds wait
│   └── TokenRefusedError       a cloud's credential was refused: its requests wait
└── CloudError              an OpenStack call failed (workers/clouds/errors.py)

Configuration errors are producers.settings.ConfigError, malformed messages
schemas.errors.MalformedMessageError.
"""


class LamplighterError(Exception):
    """The base class of the workers' errors."""


class BrokerError(LamplighterError):
    """A problem with the broker."""


class BrokerAwayError(BrokerError):
    """No connection to the broker."""


class NoQuorumError(BrokerAwayError):
    """Most nodes of the broker are away."""


class BrokerAlarmError(BrokerError):
    """The broker accepts no messages now."""


class BrokerLoginError(BrokerError):
    """The broker refused the login."""


class NotDeclaredError(BrokerError):
    """A queue or exchange does not exist."""


class AccessRefusedError(BrokerError):
    """The broker's user lacks a permission."""


class UnroutableError(BrokerError):
    """The message reached no queue."""


class RefusedError(BrokerError):
    """The broker refused the message."""


class TokenError(LamplighterError):
    """No token for a cloud."""


class TokenServiceAwayError(TokenError):
    """The token service did not answer."""


class TokenRefusedError(TokenError):
    """A cloud's credential was refused.

    Attributes:
        error: the class of the refusal (`invalid_grant`, `unauthorized`, `provider_away`, ...).
        permanent: whether an operator must act.
    """

    def __init__(self, error: str, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.error = error
        self.permanent = permanent
