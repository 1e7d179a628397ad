"""Message ids, derived from what the message says: sending a message twice changes nothing.

UUID layouts: RFC 9562, section 5.5 (version 5).
"""

import os
import uuid

NAMESPACE = uuid.UUID("6c616d70-6c69-5768-b465-722e6e6f6465")
# For messages that do not belong to a hook call.
NO_CORRELATION = "0" * 32


def correlation_id() -> str:
    """A new id for one hook call, shared by all its messages."""
    return os.urandom(16).hex()


def derived_id(*parts: str) -> str:
    """The UUIDv5 of something other than a request: an alarm, an unreadable message."""
    return str(uuid.uuid5(NAMESPACE, "\0".join(parts)))
