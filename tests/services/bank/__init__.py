"""Tests of the bank service."""
