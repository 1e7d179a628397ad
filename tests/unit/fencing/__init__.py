"""An explicit-state model of the power worker's fencing: two workers, one node, one fault."""
