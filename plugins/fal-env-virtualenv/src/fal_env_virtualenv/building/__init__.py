"""From a recipe to an environment: keys, interpreters, indexes, and builds that run uv."""
