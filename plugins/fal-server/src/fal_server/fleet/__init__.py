"""
Runners: launched on a host, told what to run, asked over HTTP, and how they end.
"""
