"""uv as a child process: its command, its variables, its cache, and how it is ended."""
