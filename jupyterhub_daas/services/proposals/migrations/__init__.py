"""Alembic versions of the proposals service."""
