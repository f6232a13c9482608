"""Laws of the ways to call a function: once, later, for many items, on many nodes."""
