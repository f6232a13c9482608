"""
Declaring: options sorted by who understands them, and the hosts that declarations name.
"""
