"""Message ids, derived from what the message says: sending a message twice changes nothing.

UUID layouts: RFC 9562, sections 5.5 (version 5) and 5.7 (version 7).
"""

import hashlib
import os
import uuid

_NAMESPACE = uuid.UUID("6c616d70-6c69-5768-b465-722e6e6f6465")
_NS_PER_MS = 1_000_000
# For messages that do not belong to a hook call.
NO_CORRELATION = "0" * 32


def correlation_id() -> str:
    """A new id for one hook call, shared by all its messages."""
    return os.urandom(16).hex()


def request_id(generation: int, correlation: str, node: str) -> str:
    """The UUIDv7 of one node's request within one hook call.

    Its time is the generation's; its random part is derived, so a request that is sent again has the
    same id.

    Args:
        generation: nanoseconds since the epoch.
        correlation: the hook call's correlation id.
        node: the node's name.
    """
    digest = hashlib.sha256(f"{correlation}\0{node}".encode()).digest()
    number = (generation // _NS_PER_MS & 0xFFFF_FFFF_FFFF) << 80
    number |= int.from_bytes(digest[:10], "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))


def event_id(request: str, round_: int, what: str) -> str:
    """The UUIDv5 of an event of a request's round.

    All terminal events of a round share `what="outcome"` and so one id: the audit keeps only one.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{request}/{round_}/{what}"))


def derived_id(*parts: str) -> str:
    """The UUIDv5 of something other than a request: an alarm, an unreadable message."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join(parts)))


def traceparent(correlation: str, request: str) -> str:
    """W3C Trace Context: the hook call is the trace, the node's request is the span."""
    span = hashlib.sha256(request.encode()).hexdigest()[:16]
    return f"00-{correlation}-{span}-01"
