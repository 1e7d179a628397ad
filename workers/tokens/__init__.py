"""The token service: the only part that knows the clouds' credentials, and how workers ask it."""
