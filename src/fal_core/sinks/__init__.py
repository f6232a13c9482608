"""
Sinks: objects that take the events of one call, and the thread that delivers them.
"""
