"""``fal-core completion``: what a shell completes words of the command line with."""
