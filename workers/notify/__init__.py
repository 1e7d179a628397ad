"""Notifications: webhooks hear of chosen events, each at least once."""
