"""Locks: what an environment has in it, as a ``pylock.toml``."""

from __future__ import annotations

import tempfile
from threading import Event

from fal_core.errors import EnvironmentBuildError
from fal_core.events import LogSink
from fal_env_virtualenv.building.builds import build, indexes_of
from fal_env_virtualenv.building.recipes import VenvRecipe
from fal_env_virtualenv.store.environments import KIND, read_record
from fal_uv.installing.compiling import write_lock
from fal_uv.installing.installers import BuildLog, Installer
from fal_uv.installing.targets import Target


def lock(recipe: VenvRecipe, key: str, sink: LogSink, cancelled: Event, *, force: bool) -> str:
    """
    Build *recipe*, whose key is *key*, unless it is built; return the text of its lock.

    Raises:
        EnvironmentBuildError: It cannot be built, or an index does not say where a file is.

        Cancelled: *cancelled* was set.
    """
    build(recipe, key, sink, cancelled, force=force)
    record = read_record(key)
    if record is None:
        raise EnvironmentBuildError(
            KIND, "It was removed as soon as it was built. Another program cleans the cache."
        )
    with tempfile.TemporaryDirectory() as workspace:
        installer = Installer(
            kind=KIND,
            target=Target.of_python(record.executable, record.python.library),
            workspace=workspace,
            indexes=indexes_of(record),
            log=BuildLog(sink),
            cancelled=cancelled,
        )
        return write_lock(installer, record.pins, record.lock or "")
