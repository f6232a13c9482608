"""What a declaration asks for: channels, packages, a Python, pip requirements and variables."""
