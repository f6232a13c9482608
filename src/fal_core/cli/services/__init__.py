"""``fal-core run`` of a service: its address, its log, and new versions of its files."""
