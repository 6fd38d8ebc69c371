"""Lifecycle: compare hub, reservations and blocks at start and periodically; end what has to end."""
