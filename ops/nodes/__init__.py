"""Commands that act on nodes.

requests: `nodes deploy`, `nodes retire`, `nodes adopt`, `resume` and `suspend`.
listing: `nodes list` and `nodes show`.
images: `lamplighter image`.
holds: `hold` and `release`.
submit: sends an operator's request the way a hook sends it.
wait_for_outcome: shows progress until all requests have ended, and sums up.
node_state: node states from the configuration and the state store.
out_of_service: nodes that Slurm must not use for now, as `status` shows them.
notices: publishes what an operator did.
"""
