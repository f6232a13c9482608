"""Pages of the documentation, followed as their readers do: from wheels, step by step."""
