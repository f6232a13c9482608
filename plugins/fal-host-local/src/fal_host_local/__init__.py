"""
Host ``local``: warm workers on this machine.
"""
