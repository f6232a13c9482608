"""
Declaring: options sorted by owner and made typed, policies, and hosts by name.
"""
