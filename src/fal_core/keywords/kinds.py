"""
The options of each kind of environment, as keywords.

Written by ``python3 dev.py keywords``, from the classes whose fields they are. Nothing imports
it but type checkers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fal_core.keywords.hosts import FunctionKeywords


class CurrentKeywords(FunctionKeywords, total=False):
    """What ``function`` takes for kind ``current``."""


class VirtualenvKeywords(FunctionKeywords, total=False):
    """What ``function`` takes for kind ``virtualenv``."""

    requirements: list[str] | tuple[str, ...] | Sequence[list[str] | tuple[str, ...]] | None
    """
    Entries, or layers of entries: each layer is installed after the one before it, and changes
    nothing there. An entry is a package with versions, a URL as in ``git+https://…``, a local
    project as in ``./project`` or ``-e ./project``, or a file that lists requirements, as in
    ``requirements.txt``, ``pyproject.toml``, a program with inline metadata, or a
    ``pylock.toml``, whose files are installed with the hashes that it has, or one of pip's
    flags ``--extra-index-url``, ``--index-url``, ``--find-links``, ``--pre`` and ``--no-deps``.
    In place of a list, ``SCRIPT`` stands for the file that the function is written in.
    """

    constraints_file: str | os.PathLike[str] | None
    """A file of versions that what is installed must have."""

    index_url: str | None
    """The index in place of the usual default one."""

    extra_index_urls: list[str] | tuple[str, ...] | None
    """Indexes that are searched before the usual ones."""

    torch_backend: str | None
    """
    Which builds of PyTorch are taken: ``auto`` for what this machine has, or one of uv's names,
    as in ``cpu`` or ``cu128``.
    """

    exclude_newer: str | None
    """A date, or how long ago, as in ``7 days``. Nothing that was published later is installed."""

    project: str | os.PathLike[str] | None
    """
    The directory of a project with a ``uv.lock``, which is installed as that says, with the
    projects of its workspace that it needs.
    """

    groups: list[str] | tuple[str, ...] | None
    """Groups of dependencies of the project, beside its own dependencies."""

    extras: list[str] | tuple[str, ...] | None
    """Optional dependencies of the project."""

    frozen: bool | None
    """
    Use the ``uv.lock`` of the project though its ``pyproject.toml`` asks for something else by
    now.
    """

    python_version: str | None
    """
    As in ``3.11``, bounds as in ``>=3.12``, or the path of a file ``.python-version``. None for
    the version of the launching Python, or another one of this machine if the files in
    *requirements* or the project exclude that.
    """

    resolver: Literal["uv", "pip"] | None
    """
    Has no effect, as uv resolves in either case. ``pip`` is accepted because declarations
    written for other builders have it.
    """

    force: bool | None
    """Resolve and build anew, once in each process."""

    compile_bytecode: bool | None
    """Compile what is installed, for a faster first import."""

    tags: list[str] | tuple[str, ...] | None
    """Words that keep this environment apart from otherwise equal ones."""

    force_env_build: bool | None
    """The same as *force*."""


class CondaKeywords(FunctionKeywords, total=False):
    """What ``function`` takes for kind ``conda``."""

    python_version: str | None
    """As in ``3.11``. None for the one that the packages ask for, or that of the launching Python."""

    env_dict: Mapping[str, Any] | None
    """What an ``environment.yml`` says, as a dict."""

    env_yml: str | os.PathLike[str] | None
    """
    The path of an ``environment.yml``, or of a lock: a ``pixi.lock``, or what ``fal-core env
    lock`` has written. It is read at the declaration.
    """

    env_yml_str: str | None
    """The text of such a file."""

    packages: list[str] | tuple[str, ...] | None
    """
    As conda writes them, as in ``numpy>=2`` or ``conda-forge::numpy``. One that is the name of
    an ``environment.yml`` or a lock stands for *env_yml*.
    """

    pip: list[str] | tuple[str, ...] | None
    """Requirements that uv installs, with what conda installed as constraints."""

    index_url: str | None
    """The index for *pip* in place of the usual default one."""

    extra_index_urls: list[str] | tuple[str, ...] | None
    """Indexes for *pip* that are searched before the usual ones."""

    torch_backend: str | None
    """
    Which builds of PyTorch *pip* takes: ``auto`` for what this machine has, or one of uv's
    names, as in ``cpu`` or ``cu128``.
    """

    channels: list[str] | tuple[str, ...] | None
    """Names, URLs or folders, after those of the environment file. By default ``conda-forge``."""

    force: bool | None
    """
    Choose the packages and build anew, once in each process. A service that builds the
    environment itself is not told.
    """

    force_env_build: bool | None
    """The same as *force*."""


class ContainerKeywords(FunctionKeywords, total=False):
    """What ``function`` takes for kind ``container`` beside the image."""

    constraints_file: str | os.PathLike[str] | None
    """A file of versions that what is installed must have."""

    index_url: str | None
    """The index in place of the usual default one."""

    extra_index_urls: list[str] | tuple[str, ...] | None
    """Indexes that are searched before the usual ones."""

    torch_backend: str | None
    """
    Which builds of PyTorch are taken: ``auto`` for what this machine has, or one of uv's names,
    as in ``cpu`` or ``cu128``.
    """

    exclude_newer: str | None
    """A date, or how long ago, as in ``7 days``. Nothing that was published later is installed."""

    project: str | os.PathLike[str] | None
    """
    The directory of a project with a ``uv.lock``, which is installed as that says, with the
    projects of its workspace that it needs.
    """

    groups: list[str] | tuple[str, ...] | None
    """Groups of dependencies of the project, beside its own dependencies."""

    extras: list[str] | tuple[str, ...] | None
    """Optional dependencies of the project."""

    frozen: bool | None
    """
    Use the ``uv.lock`` of the project though its ``pyproject.toml`` asks for something else by
    now.
    """

    requirements: list[str] | tuple[str, ...] | Sequence[list[str] | tuple[str, ...]] | None
    """
    Entries, or layers of entries: each layer is installed after the one before it, and changes
    nothing there. An entry is a package with versions, a URL as in ``git+https://…``, a local
    project as in ``./project`` or ``-e ./project``, or a file that lists requirements, as in
    ``requirements.txt``, ``pyproject.toml``, a program with inline metadata, or a
    ``pylock.toml``, whose files are installed with the hashes that it has, or one of pip's
    flags ``--extra-index-url``, ``--index-url``, ``--find-links``, ``--pre`` and ``--no-deps``.
    In place of a list, ``SCRIPT`` stands for the file that the function is written in.
    """

    python_version: str | None
    """Of the image's Python, as in ``3.11``. None if it is unknown until it starts."""

    resolver: Literal["uv", "pip"] | None
    """Has no effect, as uv resolves in either case."""

    force: bool | None
    """
    Build the image anew, on what the registries have now, and resolve the requirements anew,
    once in each process.
    """

    platform: str | None
    """Of the image, as in ``linux/arm64``. None for that of the engine."""

    shm_size: int | str | None
    """The size of ``/dev/shm``, in bytes or as in ``2g``. None for half of the memory."""

    volumes: list[str] | tuple[str, ...] | None
    """
    What its processes see beside the working directory and the project, as in
    ``models:/models:ro``.
    """

    network: bool | str | None
    """Whether its processes have a network, or the name of one of the engine's."""

    trusted: bool | None
    """
    Whether the image and the function may use what the user of this machine may: folders,
    networks and logins of the engine. A server does not trust its clients.
    """

    tenant: str | None
    """
    Whose the image is, where it is not the user's. What one has built, with secrets or logins
    of its own, no other is given.
    """

    force_env_build: bool | None
    """The same as *force*."""
