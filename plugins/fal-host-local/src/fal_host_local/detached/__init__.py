"""Detached work: calls that outlive the process that launched them."""
