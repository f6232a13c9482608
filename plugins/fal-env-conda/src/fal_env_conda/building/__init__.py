"""From a definition to an environment: solutions, prefixes, and builds that run rattler and uv."""
