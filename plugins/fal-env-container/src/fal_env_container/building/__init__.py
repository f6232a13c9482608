"""From a declaration to an image that the engine has: names, keys, and builds."""
