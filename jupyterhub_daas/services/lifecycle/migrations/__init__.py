"""Alembic versions of the lifecycle's tables."""
