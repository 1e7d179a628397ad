"""Which of a server's addresses Slurm gets for its node. Pure."""

from schemas.addresses import address_from, reaches_a_node
from schemas.server import Server
from workers.config.groups import GroupSettings


def node_address(server: Server, group: GroupSettings) -> str | None:
    """The address of a node, or None if its server has none that other hosts can reach.

    From the group's `network` alone, if it is set; else from the first network of its template if
    the server has a port there, else from the first by name. On a network, addresses of the group's
    `ip_version` come first, and then the lowest one: the order of Nova's JSON means nothing.
    """
    first = group.server.networks[0] if group.server and group.server.networks else None
    found = (
        (one.network, address)
        for one in server.addresses
        if (address := address_from(one.address)) is not None and reaches_a_node(address)
    )
    ranked = [
        (network != first, network, address.version != group.ip_version, int(address), str(address))
        for network, address in found
        if group.network in {None, network}
    ]
    return min(ranked)[-1] if ranked else None
