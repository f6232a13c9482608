"""
Requests that are accepted now and answered later, and the webhooks that are told.
"""
