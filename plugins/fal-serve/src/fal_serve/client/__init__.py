"""
Clients of applications.
"""
