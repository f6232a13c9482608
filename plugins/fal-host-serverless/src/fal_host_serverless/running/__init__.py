"""Runs of the service: how a call is pickled, sent, followed and ended."""
