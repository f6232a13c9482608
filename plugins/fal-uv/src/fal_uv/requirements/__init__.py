"""What a declaration asks for: packages in layers, a Python, and local files that count."""
