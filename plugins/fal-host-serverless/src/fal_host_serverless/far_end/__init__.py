"""Code that travels as source and runs in the service's agent, with nothing of ours installed."""
