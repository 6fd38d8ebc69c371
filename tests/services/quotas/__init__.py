"""Tests of the quota service."""
