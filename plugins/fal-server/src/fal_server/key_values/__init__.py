"""Key values: texts that programs keep on the server for a while, by a name and a key."""
