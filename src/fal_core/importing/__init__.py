"""Importing: imports at the top of a file of what is there only where its functions run."""
