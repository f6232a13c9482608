"""Requests that are accepted now and answered later, and their webhooks."""
