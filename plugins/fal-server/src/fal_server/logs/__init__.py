"""The lines that runners print: how many are taken, how long they wait, and what is kept."""
