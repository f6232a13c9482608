"""Containers of an image: the commands that start and end them."""
