"""IP addresses from outside, checked before they reach a message or an argument of scontrol."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_LONGEST = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
_BROADCAST = IPv4Address("255.255.255.255")


def address_from(text: str) -> Address | None:
    """The IP address that a text is; None for any other text.

    An IPv4 address within an IPv6 one (RFC 4291, 2.5.5.2) is that IPv4 address. A scope, after `%`,
    may be any text and means something on one host only: an address with a scope is refused.
    """
    return None if "%" in text or len(text) > _LONGEST else _parsed(text)


@lru_cache(maxsize=16_384)  # each listing repeats them
def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def reaches_a_node(address: Address) -> bool:
    """Whether other hosts can reach one node at the address."""
    return address != _BROADCAST and not (
        address.is_link_local
        or address.is_loopback
        or address.is_multicast
        or address.is_unspecified
    )


def node_addr(text: str | None) -> str | None:
    """What Slurm gets as a node's NodeAddr: an IP address as RFC 5952 writes it, or nothing."""
    address = None if text is None else address_from(text)
    return None if address is None else str(address)
