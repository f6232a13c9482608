"""
The nodes: what a node is given, and the agent that builds and starts a worker there.
"""
