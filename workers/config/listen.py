"""Reads the addresses on which processes listen. Pure."""

import ipaddress

from schemas.numbers import whole_number

_MOST_PORT = 65_535


def host_and_port(
    text: str, example: str, *, least: int = 1, most: int = _MOST_PORT
) -> tuple[str, int]:
    """Host and port of an address such as `127.0.0.1:8617`, `[::1]:8617` or `localhost:8617`.

    Raises:
        ValueError: it is not an address, or its port is not from `least` to `most`; `example` is one.
    """
    host, _, port = text.rpartition(":")
    host, number = host.strip("[]"), whole_number(port, least=least, most=most)
    if number is None or not (host == "localhost" or is_ip(host)):
        raise ValueError(f'listen: {text!r} is not an address; write "{example}"')
    return host, number


def is_ip(host: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
