"""Account data: the directory of each account that its applications see at ``/data``."""
