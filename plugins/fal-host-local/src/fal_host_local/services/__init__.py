"""Services: calls that are reached through a port, each in a worker of its own."""
