"""What ``fal-core doctor`` checks about virtual environments."""

from __future__ import annotations

import os
import re

from fal_core.caches import remove_quietly, write_durably
from fal_core.checks import Check, Finding
from fal_core.errors import EnvironmentBuildError, HostError
from fal_core.stores import describe_disk_error
from fal_env_virtualenv.store.environments import STORE
from fal_uv.running.uv import OLDEST_UV, ask, uv_command

_CONTENT = "Written by fal-core doctor. It can be removed.\n"


def health_checks() -> list[Check]:
    """Return the checks of this plugin."""
    return [
        Check("uv", check_uv),
        Check("cache directory", check_cache),
        Check("hard links", check_links),
    ]


def check_uv() -> Finding:
    """Check that uv is installed, starts and is new enough."""
    try:
        command = uv_command()
    except EnvironmentBuildError as error:
        return Finding(False, error.reason)
    code, output = ask([*command, "--version"])
    if code != 0:
        return Finding(
            False, f"{command[0]} does not start. Run 'pip install --force-reinstall uv'."
        )
    told = output.strip()
    version = re.match(r"uv (\d+)\.(\d+)", told)
    if version is not None and (int(version[1]), int(version[2])) < OLDEST_UV:
        oldest = ".".join(map(str, OLDEST_UV))
        return Finding(
            False,
            f"{told} at {command[0]} is too old: uv {oldest} or newer is needed. Run "
            "'pip install --upgrade uv'.",
        )
    return Finding(True, f"{told} at {command[0]}.")


def check_cache() -> Finding:
    """Check that files can be written where environments are kept."""
    try:
        root = STORE.root
    except HostError as error:
        return Finding(False, str(error))
    path = os.path.join(root, f"written-by-doctor.{os.getpid()}")
    try:
        os.makedirs(root, exist_ok=True)
        write_durably(path, _CONTENT)
    except OSError as error:
        return Finding(False, describe_disk_error(error))
    finally:
        remove_quietly(path)
    return Finding(True, f"{root} can be written.")


def check_links() -> Finding:
    """Check that files of uv's cache can be linked to where environments are kept."""
    try:
        root = STORE.root
        code, output = ask([*uv_command(), "cache", "dir"])
    except EnvironmentBuildError as error:
        return Finding(False, error.reason)
    except HostError as error:
        return Finding(False, str(error))
    if code != 0:
        return Finding(
            False, "uv does not say where its cache is. Run 'uv cache dir' to see why."
        )
    cache = output.strip()
    name = f"linked-by-doctor.{os.getpid()}"
    source, target = os.path.join(cache, name), os.path.join(root, name)
    try:
        os.makedirs(cache, exist_ok=True)
        os.makedirs(root, exist_ok=True)
        write_durably(source, _CONTENT)
        os.link(source, target)
    except OSError as error:
        return Finding(
            False,
            f"Files of uv's cache {cache} cannot be linked to {root} ({error.strerror}), "
            "so each environment copies them. Set FAL_CORE_CACHE and UV_CACHE_DIR to "
            "directories on the same file system.",
        )
    finally:
        remove_quietly(source)
        remove_quietly(target)
    return Finding(True, f"Environments share files with uv's cache {cache}.")
