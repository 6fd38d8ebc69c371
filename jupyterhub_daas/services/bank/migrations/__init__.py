"""Versions of the bank's tables."""
