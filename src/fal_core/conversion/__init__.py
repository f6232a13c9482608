"""
Conversion: values that users write, made into strictly typed ones.
"""
