"""An explicit-state model of the power worker's fencing: two workers, one node, a few requests, one fault.

state: what the model's world consists of, and what Nova makes of an action.
store: what accepting, leasing and committing do to the node's row.
reality: the worker's own pure functions, called by the model.
model: every step that can happen next.
search: visits every state that a model can reach.
"""
