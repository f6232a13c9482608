"""The commands under ``fal-core server``."""
