"""What an image is declared as: its Dockerfile, and the files that its build sees."""
