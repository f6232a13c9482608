"""The tests of plugins share the module ``plugin_examples``, and a process with broken plugins."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from plugin_examples import GOOD, INVALID, UNLOADABLE, install, run  # path


@pytest.fixture(scope="session")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The plugins of a process that has every broken plugin installed, and some that work."""
    site = tmp_path_factory.mktemp("plugins") / "site"
    broken = {name: source for name, (source, _) in {**UNLOADABLE, **INVALID}.items()}
    names = {**broken, **GOOD}
    for name, source in names.items():
        install(site, name, source)
    return run(
        site,
        """
        import json
        from fal_core.plugins import *
        from fal_core.plugins import find_environment, find_host

        def attempt(find, name):
            try:
                return find(name).__module__
            except Exception as error:
                return f"{type(error).__name__}: {error}"

        plugins = load_plugins()
        print(json.dumps({
            "hosts": sorted(plugins.hosts),
            "environments": sorted(plugins.environments),
            "loaded": [plugin.entry.name for plugin in plugins.loaded],
            "broken": {error.plugin: str(error) for error in plugins.broken},
            "labels": [str(each.entry) for each in describe_plugins()],
            "descriptions": {str(each.entry): each.problem for each in describe_plugins()},
            "asked": {
                name: attempt(find_host, name) for name in ("good", "shared", "exits", "odd")
            },
            "kinds": {
                name: attempt(find_environment, name)
                for name in ("left", "unreadable", "nowhere")
            },
            "hooks": sorted(
                name for name, _ in plugins.hooks.each("fal_register_hosts")
            ),
        }))
        """,
        FAL_CORE_PLUGINS=",".join(names),
    )
