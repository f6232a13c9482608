"""Plugins: what is installed, what it provides, and what is wrong with it."""

from fal_core.plugins.catalog import Plugins
from fal_core.plugins.installed import (
    describe_plugins,
    find_environment,
    find_host,
    load_plugins,
    make_host,
    registered,
)
from fal_core.plugins.loaders import PluginDescription

__all__ = [
    "PluginDescription",
    "Plugins",
    "describe_plugins",
    "find_environment",
    "find_host",
    "load_plugins",
    "make_host",
    "registered",
]
