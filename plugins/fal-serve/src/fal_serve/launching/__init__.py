"""Applications as isolated functions, and those that were spawned. It needs fal_core."""
