"""Tests of the demo: its start, its end, its data."""
