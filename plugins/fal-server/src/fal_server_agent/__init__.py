"""
What a control plane runs on a host: an agent, which opens and runs what clients sent.

It needs the standard library alone and travels as source; everything that is
unpickled is unpickled here. The plane speaks to it over a loopback port.
"""
