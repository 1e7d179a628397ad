"""Dead letters: requests that failed for good, until an operator replays or discards them."""
