"""Usage and waste: how long nodes were lit, for whom, and what it saved."""
