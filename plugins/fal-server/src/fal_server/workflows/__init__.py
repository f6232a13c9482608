"""Workflows: graphs of applications, each of which is deployed as an application of its own."""
