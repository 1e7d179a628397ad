"""The settings of the feedback to Slurm."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from workers.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of an installation; times in seconds.

    Attributes:
        return_after: from a failure to the node's return; doubles with each further failure in a row.
        return_at_most: the limit of return_after.
        give_back_after: how long a node may wait for an unavailable cloud.
        resume_timeout: as in slurm.conf.
        set_addresses: whether Slurm receives the addresses of nodes.
        hostnames: NodeHostName by node, for groups that set it.
    """

    return_after: float = 300.0
    return_at_most: float = 7200.0
    give_back_after: float = 300.0
    resume_timeout: float = 600.0
    set_addresses: bool = False
    hostnames: Mapping[str, str] = field(default_factory=dict)


def policy_from(settings: Settings) -> Policy:
    """The policy that these settings describe."""
    hostnames = {
        node: hostname.replace("$node", node)
        for node, group in settings.nodes.items()
        if (hostname := settings.groups[group].hostname) is not None
    }
    slurm = settings.slurm
    return Policy(
        return_after=slurm.return_after,
        return_at_most=slurm.return_at_most,
        give_back_after=slurm.give_back_after,
        resume_timeout=slurm.resume_timeout,
        set_addresses=slurm.set_addresses,
        hostnames=hostnames,
    )
