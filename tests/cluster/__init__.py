"""A whole cluster on this machine, to try what several machines do."""
