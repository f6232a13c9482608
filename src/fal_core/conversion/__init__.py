"""
Conversion: strict, typed values out of what users write.
"""
