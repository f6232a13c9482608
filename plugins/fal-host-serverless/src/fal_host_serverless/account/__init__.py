"""Credentials and addresses, and operations on what belongs to an account."""
