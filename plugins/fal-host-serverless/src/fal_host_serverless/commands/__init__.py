"""The commands of fal's own command line."""
