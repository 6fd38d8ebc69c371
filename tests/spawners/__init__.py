"""Tests of the front spawner and the backends."""
