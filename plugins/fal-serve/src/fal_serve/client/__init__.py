"""Clients of applications."""
