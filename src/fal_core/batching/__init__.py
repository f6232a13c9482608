"""Batching: many calls made with few launches."""
