"""Connectors: one module per kind of source. A foreign word stays inside its module."""
