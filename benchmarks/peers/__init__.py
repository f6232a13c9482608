"""Services of others that answer as ours do: ``python -m benchmarks.peers.bare --port 8000``."""
