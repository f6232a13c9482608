"""Runners: how they are launched, what they run, how they are reached, and how they end."""
