"""Deliberately broken hosts: each breaks one promise, as a careless author might."""
