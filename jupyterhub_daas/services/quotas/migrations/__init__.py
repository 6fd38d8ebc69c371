"""Alembic versions of the quotas service."""
