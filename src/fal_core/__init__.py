"""
Run Python functions anywhere: one decorator, and every host is a plugin.
"""
