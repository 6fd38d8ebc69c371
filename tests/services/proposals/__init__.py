"""Tests of the proposal-data service."""
