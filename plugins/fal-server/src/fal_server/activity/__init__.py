"""Activity: what happens on the server, told as it happens, and kept as a history."""
