"""Lamplighter's errors, drawn as a tree.

LamplighterError
├── BrokerError             the broker did not take or give something
│   ├── BrokerAwayError     the connection is gone; what was not confirmed may be sent again
│   ├── UnroutableError     the message reached no queue: the topology is not in place
│   └── RefusedError        the broker refused the message: a queue is full
├── TokenError              no token for a cloud
│   ├── TokenServiceAwayError   nobody answered: all clouds wait
│   └── TokenRefusedError       this cloud's credential was refused: its requests wait
└── CloudError              a cloud did not do what it was asked (workers/clouds/errors.py)

Configuration errors are producers.settings.ConfigError, malformed messages
schemas.errors.MalformedMessageError.
"""


class LamplighterError(Exception):
    """Whatever goes wrong in a worker and has a name."""


class BrokerError(LamplighterError):
    """The broker did not take or give something."""


class BrokerAwayError(BrokerError):
    """The connection is gone."""


class UnroutableError(BrokerError):
    """The message reached no queue."""


class RefusedError(BrokerError):
    """The broker refused the message."""


class TokenError(LamplighterError):
    """No token for a cloud."""


class TokenServiceAwayError(TokenError):
    """Nobody answered the request for a token."""


class TokenRefusedError(TokenError):
    """The credential of one cloud was refused.

    Attributes:
        error: the class of the refusal (`invalid_grant`, `unauthorized`, `provider_away`, ...).
        permanent: whether only a person can mend it.
    """

    def __init__(self, error: str, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.error = error
        self.permanent = permanent
