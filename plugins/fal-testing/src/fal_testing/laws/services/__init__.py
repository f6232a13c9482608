"""Laws of what runs on with nobody waiting: services and detached work."""
