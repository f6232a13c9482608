"""
Claims: which of several servers on one database decides, and where the others are.
"""
