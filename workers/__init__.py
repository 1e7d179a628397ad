"""Who acts: the power, tokens and audit workers, and what they share."""
