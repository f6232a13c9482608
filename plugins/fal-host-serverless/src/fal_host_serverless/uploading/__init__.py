"""Files and projects of this machine that a function needs, and how they reach the service."""
