"""What the server keeps between starts: the data directory, and one database."""
