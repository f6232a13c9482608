"""Laws of what functions declare and hosts claim: options, environments, secrets."""
