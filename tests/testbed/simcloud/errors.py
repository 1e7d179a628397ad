"""Refusals: what a service answers instead of doing what it was asked.

ApiError
    ConflictError        409
    NotFoundError        404
    UnauthorizedError    401
    ForbiddenError       403
    BadRequestError      400
"""

import math


class ApiError(Exception):
    """An HTTP status and a message; each service writes its own body around them."""

    def __init__(
        self, status: int, message: str, *, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    @property
    def retry_after(self) -> str | None:
        """The ``Retry-After`` header's value (whole seconds, rounded up), if there is one."""
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
