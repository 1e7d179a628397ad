"""The errors with which a service refuses a call.

ApiError
    ConflictError        409
    NotFoundError        404
    UnauthorizedError    401
    ForbiddenError       403
    BadRequestError      400
"""

import math


class ApiError(Exception):
    """An HTTP status and a message; each service has its own format for the body."""

    def __init__(
        self, status: int, message: str, *, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    @property
    def retry_after(self) -> str | None:
        """The value of the ``Retry-After`` header (whole seconds, rounded up); None for no header."""
        if self.retry_after_seconds is None:
            return None
        return str(max(0, math.ceil(self.retry_after_seconds)))


class ConflictError(ApiError):
    def __init__(self, message: str) -> None:
        super().__init__(409, message)


class NotFoundError(ApiError):
    def __init__(self, message: str) -> None:
        super().__init__(404, message)


class UnauthorizedError(ApiError):
    def __init__(self, message: str = "The request you have made requires authentication.") -> None:
        super().__init__(401, message)


class ForbiddenError(ApiError):
    def __init__(self, message: str) -> None:
        super().__init__(403, message)


class BadRequestError(ApiError):
    def __init__(self, message: str) -> None:
        super().__init__(400, message)
