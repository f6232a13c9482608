"""Shells: commands that people run in runners, with a terminal and without."""
