"""
Sinks: what takes the events of one call.
"""
