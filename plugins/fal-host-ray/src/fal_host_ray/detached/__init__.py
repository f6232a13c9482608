"""Detached work: calls on nodes that outlive the process that launched them."""
