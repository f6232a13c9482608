"""Limits: the machine that a call declares, held to on this one."""
