"""
Preparations: what is uploaded before a function can run, or be deployed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.calls import Call
from fal_core.environments import Environment
from fal_core.events import LogSink
from fal_core.options import Gateway, HostOptions
from fal_host_serverless import distributions, local_requirements, requests, uploads
from fal_host_serverless.distributions import Distribution
from fal_host_serverless.files import (
    USUALLY_IGNORED,
    LocalFile,
    Selection,
    base_folder,
    inside,
)
from fal_host_serverless.requests import SentFile
from fal_host_serverless.rest import RestClient

if TYPE_CHECKING:
    from fal_host_serverless.hosts import FalServerlessHost


@attrs.frozen(kw_only=True)
class Preparation:
    """
    What a request says of things that were uploaded.

    Attributes:
        files: Those that travel with the function.

        requirements: With local ones replaced. None where none is local.

        folder: Where the function's own folder is, as seen from that of the files.
    """

    files: tuple[SentFile, ...] = ()
    requirements: Any = None
    folder: str | None = None


def check(
    host: FalServerlessHost, environment: Environment, options: HostOptions, gateway: Gateway
) -> None:
    """
    Refuse what no request can be made of, before anything is uploaded.

    Raises:
        OptionError: Something is named that is not there, or written otherwise.
    """
    requests.check(options, gateway)
    if not _names_no_files(environment, options):
        selection(host, environment, options).check()
    written = getattr(environment, "requirements", None)
    if written:
        project = inside(base_folder(host.local_file_path), options.requirements_context_dir)
        local_requirements.local_projects(written, project)


def prepare(host: FalServerlessHost, call: Call, log: LogSink) -> Preparation:
    """
    Upload what *call* names of this machine.

    Raises:
        OptionError: Something is named that is not there.

        FalServerlessError: The service does not take it.
    """
    options = call.host_options
    written = getattr(call.environment, "requirements", None) or ()
    if not written and _names_no_files(call.environment, options):
        # As most functions do; to look at the folders would take longer than the rest.
        return Preparation()
    base = base_folder(host.local_file_path)
    found = local_files(host, call)
    project = inside(base, options.requirements_context_dir)
    local = local_requirements.has_local(written, project)
    if not found and not local:
        return Preparation(folder=app_folder(base, options))
    with RestClient(host.address, host.caller) as rest:
        sent = uploads.send_files(rest, found)
        if not local:
            return Preparation(files=tuple(sent), folder=app_folder(base, options))
        replaced = local_requirements.replace_local(
            written, project, lambda folder: distributions.place(folder, rest, log)
        )
    return Preparation(
        files=tuple(sent), requirements=replaced, folder=app_folder(base, options)
    )


def local_files(host: FalServerlessHost, call: Call) -> list[LocalFile]:
    """
    Return the files of this machine that travel; nothing is uploaded.

    Raises:
        OptionError: Something is named that is not there.
    """
    return selection(host, call.environment, call.host_options).collect()


def local_sources(host: FalServerlessHost, call: Call) -> dict[Path, Distribution]:
    """
    Return the projects of this machine that travel, packed; nothing is uploaded.

    Raises:
        OptionError: A folder that is named is no project.

        EnvironmentBuildError: One cannot be packed.
    """
    written = getattr(call.environment, "requirements", None) or ()
    project = inside(
        base_folder(host.local_file_path), call.host_options.requirements_context_dir
    )
    found = local_requirements.local_projects(written, project)
    return {folder: distributions.pack(folder) for folder in found}


def selection(
    host: FalServerlessHost, environment: Environment, options: HostOptions
) -> Selection:
    """
    Return which files travel: for an image those it is built of.
    """
    base = base_folder(host.local_file_path)
    image = getattr(environment, "image", None)
    if isinstance(image, dict):
        return Selection(
            paths=tuple(image.get("docker_files_list") or ()),
            ignored=tuple(image.get("docker_ignore") or ()),
            folder=inside(base, image.get("docker_context_dir")),
        )
    folder = inside(base, options.app_files_context_dir)
    written = options.app_files_ignore
    ignored = USUALLY_IGNORED if written is None else tuple(written)
    if host.local_file_path and options.app_files:
        # The function's own file travels sealed.
        own = os.path.relpath(Path(host.local_file_path).resolve(), folder)
        ignored = (*ignored, f"^{re.escape(Path(own).as_posix())}$")
    return Selection(paths=tuple(options.app_files or ()), ignored=ignored, folder=folder)


def _names_no_files(environment: Environment, options: HostOptions) -> bool:
    """
    Tell whether a call names no file of this machine, nor what is ignored of them.
    """
    image = getattr(environment, "image", None)
    return not (options.app_files or options.app_files_ignore or isinstance(image, dict))


def app_folder(base: Path, options: HostOptions) -> str | None:
    """
    Return where *base* is among the files that travel; None where none do.
    """
    if not options.app_files:
        return None
    folder = inside(base, options.app_files_context_dir)
    return Path(os.path.relpath(base, folder)).as_posix()
