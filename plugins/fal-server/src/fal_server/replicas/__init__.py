"""Replicas: what one of several servers does, whether it decides or another does."""
