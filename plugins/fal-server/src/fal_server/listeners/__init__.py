"""The ports of the server: what is accepted there, under which certificate, at which URLs."""
