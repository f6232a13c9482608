"""
Calling: one call of a function, from its declaration to its result.
"""
