"""
The agent, which a control plane runs on a host: it opens and runs what clients sent.

It needs only the standard library, and travels as source. Everything that clients have
pickled is unpickled here. The control plane speaks to it over a Unix socket, or a
loopback port where it is on another machine.
"""
