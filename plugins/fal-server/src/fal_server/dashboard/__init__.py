"""The dashboard: pages on which a browser shows what runs, and what they ask the server."""
