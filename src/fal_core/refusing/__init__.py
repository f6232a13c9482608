"""Refusing: calls that cannot work, and what to write instead, before anything is sent."""
