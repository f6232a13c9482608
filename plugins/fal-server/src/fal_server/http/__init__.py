"""The HTTP API, and the routes that it answers."""
