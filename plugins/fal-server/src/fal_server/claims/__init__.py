"""Claims: which of several servers on one database decides, and what they keep for each other."""
