"""
Services: ports of this machine that lead to services on nodes.
"""
