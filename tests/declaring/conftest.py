"""The tests of declaring share the module ``declaring_examples``, and the plugin of its classes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core.environments import Environment
from fal_core.hooks import hookimpl
from fal_core.plugins import registered

sys.path.insert(0, str(Path(__file__).parent))

from declaring_examples import Around, Boxed, Layered, Plain, Queued  # path


@pytest.fixture(scope="module", autouse=True)
def _plugin() -> Iterator[None]:
    made: Any = ModuleType("plugin")
    made.fal_core_api = 1
    hosts: Iterable[type[Any]] = [Queued, Plain, Around]
    environments: Iterable[type[Environment]] = [Layered, Boxed]
    made.fal_register_hosts = hookimpl(lambda: hosts)
    made.fal_register_environments = hookimpl(lambda: environments)
    with pytest.MonkeyPatch.context() as patch:
        # The plugin has a kind of that name, and to these tests no conda is installed.
        patch.setenv("FAL_CORE_PLUGINS_DENY", "container,conda")
        with registered(made):
            yield
