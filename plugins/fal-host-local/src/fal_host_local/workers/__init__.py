"""Worker processes: the keeper that starts and kills them, and how one is started."""
