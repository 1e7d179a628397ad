"""What a site has chosen of the feedback, read from its settings."""

from workers.config.settings import Settings
from workers.slurm.decide import Policy


def policy_of(settings: Settings) -> Policy:
    """The site's policy."""
    hostnames = {
        node: wanted.replace("$node", node)
        for node, group in settings.nodes.items()
        if (wanted := settings.groups[group].hostname) is not None
    }
    of_slurm = settings.slurm
    return Policy(
        return_after=of_slurm.return_after,
        return_at_most=of_slurm.return_at_most,
        give_back_after=of_slurm.give_back_after,
        resume_timeout=of_slurm.resume_timeout,
        set_addresses=of_slurm.set_addresses,
        hostnames=hostnames,
    )
