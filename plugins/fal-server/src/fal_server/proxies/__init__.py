"""
Proxies: they lead clients to a server whose host names stand in their code.
"""
