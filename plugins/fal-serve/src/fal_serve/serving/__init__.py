"""The server of a service: its ASGI application, its connections and its life."""
