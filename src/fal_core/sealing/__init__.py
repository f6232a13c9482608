"""
Sealing: functions and arguments made into bytes that travel, and opened again.
"""
