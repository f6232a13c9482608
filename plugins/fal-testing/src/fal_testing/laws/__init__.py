"""
The laws: a folder for each part of the way of a call, and in it a module for each group.

A law is a test whose docstring is the rule. The functions in it are written
inside it, and use nothing but the standard library, so that they run wherever a
host runs them.
"""
