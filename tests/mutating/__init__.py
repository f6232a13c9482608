"""How far the short proof can be trusted: lines changed one at a time, and which proof notices."""
