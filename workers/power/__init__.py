"""The power worker: desired state, decision, cloud.

A delivery is parsed (intake), raises its node's desired state (desired), and the node is reconciled
(decide) against what the cloud shows (servers, site), until it is settled or cannot be (engine).
"""
