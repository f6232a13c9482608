"""Executors: any host behind the interface of ``concurrent.futures``."""
