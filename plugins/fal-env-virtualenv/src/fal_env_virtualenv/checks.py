"""
What ``fal-core doctor`` checks of virtual environments.
"""

from __future__ import annotations

import os

from fal_core.checks import Check, Finding
from fal_core.errors import EnvironmentBuildError
from fal_env_virtualenv import files, records, tools


def health_checks() -> list[Check]:
    """
    Return the checks of this plugin.
    """
    return [
        Check("uv", check_uv),
        Check("cache directory", check_cache),
        Check("hard links", check_links),
    ]


def check_uv() -> Finding:
    """
    Find uv, and start it.
    """
    try:
        command = tools.uv_command()
    except EnvironmentBuildError as error:
        return Finding(False, error.reason)
    code, output = tools.ask([*command, "--version"])
    if code != 0:
        return Finding(
            False, f"{command[0]} does not start. Run 'pip install --force-reinstall uv'."
        )
    return Finding(True, f"{output.strip()} at {command[0]}.")


def check_cache() -> Finding:
    """
    Write a file where environments are kept.
    """
    root = records.store_root()
    path = os.path.join(root, f"written-by-doctor.{os.getpid()}")
    try:
        os.makedirs(root, exist_ok=True)
        files.write_durably(path, "It can be removed.\n")
    except OSError as error:
        return Finding(False, files.describe_failure(error))
    finally:
        files.remove_quietly(path)
    return Finding(True, f"{root} can be written.")


def check_links() -> Finding:
    """
    Link a file from uv's cache to where environments are kept.
    """
    root = records.store_root()
    try:
        code, output = tools.ask([*tools.uv_command(), "cache", "dir"])
    except EnvironmentBuildError as error:
        return Finding(False, error.reason)
    if code != 0:
        return Finding(False, "uv does not say where its cache is. Look at 'uv cache dir'.")
    cache = output.strip()
    name = f"linked-by-doctor.{os.getpid()}"
    source, target = os.path.join(cache, name), os.path.join(root, name)
    try:
        os.makedirs(cache, exist_ok=True)
        os.makedirs(root, exist_ok=True)
        files.write_durably(source, "It can be removed.\n")
        os.link(source, target)
    except OSError as error:
        return Finding(
            False,
            f"Files of uv's cache {cache} cannot be linked to {root} ({error.strerror}), "
            "so each environment copies them. Put both on one file system: FAL_CORE_CACHE and "
            "UV_CACHE_DIR say where they are.",
        )
    finally:
        files.remove_quietly(source)
        files.remove_quietly(target)
    return Finding(True, f"Environments share files with uv's cache {cache}.")
