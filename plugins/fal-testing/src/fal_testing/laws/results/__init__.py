"""Laws of what the caller gets: values, errors, lines and events."""
