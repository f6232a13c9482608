"""Calls: how they are run, interrupted and ended."""
