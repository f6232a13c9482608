"""
Batching: many calls carried by few launches.
"""
