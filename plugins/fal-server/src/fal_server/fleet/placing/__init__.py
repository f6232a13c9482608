"""Placing: which of several hosts a runner is launched on, and how it is reached there."""
