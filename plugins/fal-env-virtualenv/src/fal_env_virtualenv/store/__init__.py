"""What is kept on disk: build records, environments, their locks, and how they are removed."""
