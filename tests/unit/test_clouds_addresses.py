"""Which of a server's addresses is the node's, and that NodeAddr is an IP address or nothing."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.addresses import node_addr
from schemas.server import NetworkAddress, Server
from workers.clouds.servers import node_address
from workers.config.groups import GroupSettings, ServerTemplate

UNREACHABLE = [
    "169.254.3.4",
    "127.0.0.1",
    "224.0.0.1",
    "0.0.0.0",  # noqa: S104 - an address that must not be taken
    "255.255.255.255",
    "fe80::1",
    "::1",
    "ff02::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:169.254.0.1",
]


def group(
    *networks: str, network: str | None = None, version: int = 4, template: bool = True
) -> GroupSettings:
    server = ServerTemplate(image="i", flavor="f", networks=networks) if template else None
    assert version in {4, 6}
    return GroupSettings(
        nodes="n1", cloud="c", server=server, network=network, ip_version=6 if version == 6 else 4
    )


def server(**networks: str) -> Server:
    """A server with addresses, separated by spaces, on networks."""
    return Server(
        "id",
        "n1",
        "ACTIVE",
        addresses=tuple(
            NetworkAddress(name, one) for name, many in networks.items() for one in many.split()
        ),
    )


@pytest.mark.parametrize(
    ("of", "settings", "chosen"),
    [
        (server(), group("auto"), None),
        (server(a="10.0.0.7"), group("auto"), "10.0.0.7"),
        # the template's first network, then by name
        (server(a="10.0.0.7", z="10.1.0.7"), group("z", "a"), "10.1.0.7"),
        (server(a="10.0.0.7", z="10.1.0.7"), group("a", "z"), "10.0.0.7"),
        (server(z="10.1.0.7", a="10.0.0.7"), group("auto"), "10.0.0.7"),
        (server(z="10.1.0.7", a="10.0.0.7"), group(template=False), "10.0.0.7"),
        (server(z="10.1.0.7"), group("gone"), "10.1.0.7"),
        # IPv4 first, the lowest as a number
        (server(a="2001:db8::7 10.0.0.7"), group("a"), "10.0.0.7"),
        (server(a="10.0.0.10 10.0.0.9"), group("a"), "10.0.0.9"),
        (server(a="10.0.0.7", z="2001:db8::7"), group("z"), "2001:db8::7"),
        (server(a="2001:db8::7 10.0.0.7"), group("a", version=6), "2001:db8::7"),
        (server(a="10.0.0.7"), group("a", version=6), "10.0.0.7"),
        # a network that is set counts alone
        (server(a="10.0.0.7", z="10.1.0.7"), group("a", network="z"), "10.1.0.7"),
        (server(a="10.0.0.7"), group("a", network="z"), None),
        # what no other host reaches
        (server(a="169.254.3.4 10.0.0.7"), group("a"), "10.0.0.7"),
        (server(a="169.254.3.4", z="10.1.0.7"), group("a"), "10.1.0.7"),
        (server(a=" ".join(UNREACHABLE)), group("a"), None),
    ],
)
def test_the_nodes_address_is_on_the_first_network_and_ipv4_first(
    of: Server, settings: GroupSettings, chosen: str | None
) -> None:
    assert node_address(of, settings) == chosen


@given(
    st.lists(
        st.tuples(st.sampled_from("abz"), st.ip_addresses().map(str) | st.sampled_from(UNREACHABLE))
    ),
    st.sampled_from("abz"),
)
def test_the_choice_depends_on_no_order_and_is_reachable(
    addresses: list[tuple[str, str]],
    first: str,
) -> None:
    found = tuple(NetworkAddress(*one) for one in addresses)
    chosen = node_address(Server("id", "n", "ACTIVE", addresses=found), group(first))
    assert chosen == node_address(Server("id", "n", "ACTIVE", addresses=found[::-1]), group(first))
    if chosen is not None:
        address = ip_address(chosen)
        assert not address.is_link_local
        assert not address.is_loopback
        assert not address.is_multicast
        assert not address.is_unspecified


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "evil.example.org",
        "10.0.0.1,10.0.0.2",
        "10.0.0.1 State=DOWN Reason=x",
        "-x",
        "\nState=DOWN",
        "10.0.0.1\n",
        "a\x00b",
        "\ud800",
        "10.0.0.1\ud800",
        "2001:db8::1%eth0 State=DOWN",
        "2001:db8::1%\ud800",
        "010.0.0.1",
        "\u0661\u0660.0.0.1",
        "167772161",
        "10.1",
    ],
)
def test_what_is_not_an_address_of_a_node_is_nothing(text: str | None) -> None:
    assert node_addr(text) is None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ],
)
def test_an_address_is_written_in_one_way(text: str, written: str) -> None:
    assert node_addr(text) == written


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_nothing(text: str) -> None:
    address = node_addr(text)
    assert address is None or (address.isascii() and set(address) <= set("0123456789abcdef.:"))
