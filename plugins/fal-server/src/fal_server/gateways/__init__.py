"""The gateways for requests to applications: direct, queued, and over a websocket."""
