"""Hosts for tests: on threads, in a process for each call, and around another host."""
