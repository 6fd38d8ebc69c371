"""Alembic versions of the accounts' tables."""
