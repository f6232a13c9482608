"""
Run Python functions anywhere: one decorator, and every host is a plugin.
"""

from fal_core.functions import IsolatedFunction, function
