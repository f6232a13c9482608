"""
Which runner takes a request: the applications, their pools of runners, and leases.
"""
