"""
Pools: the warm workers of one environment, and the calls that wait for one.
"""
