"""
The page on which a service is tried in a browser, and its scripts.
"""
