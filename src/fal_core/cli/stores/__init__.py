"""``fal-core env``: what environments have left on this machine, over all kinds."""
