"""Files and projects of this machine that a call needs, checked and uploaded."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from fal_core.calls import Call
from fal_core.environments import Environment
from fal_core.events import LogSink
from fal_core.options import HostOptions
from fal_host_serverless.uploading import distributions, local_requirements, transfers
from fal_host_serverless.uploading.distributions import Distribution
from fal_host_serverless.uploading.local_files import USUALLY_IGNORED, LocalFile, Selection
from fal_host_serverless.wire.requests import UploadedInputs, definition
from fal_host_serverless.wire.services import Service


def check(local_file_path: str, environment: Environment, options: HostOptions) -> None:
    """
    Refuse files and requirements that cannot be uploaded, and environments that cannot be
    described to the service; no file is uploaded.

    Arguments:
        local_file_path: As of :class:`Service`.

    Raises:
        OptionError: A file or project does not exist, or cannot travel.
    """
    environment.definition()
    if not _names_no_files(environment, options):
        select_files(local_file_path, environment, options).check()
    written = _requirements_of(environment)
    if written:
        base = _requirements_folder(local_file_path, options)
        local_requirements.local_projects(written, base)


def upload(service: Service, call: Call, log: LogSink) -> UploadedInputs:
    """
    Upload the files and local requirements of *call*.

    Raises:
        OptionError: A file or project does not exist, or cannot travel.

        EnvironmentBuildError: A project cannot be packed.

        FalServerlessError: The service does not accept an upload.
    """
    options, path = call.host_options, service.local_file_path
    written = _requirements_of(call.environment)
    if not written and _names_no_files(call.environment, options):
        # This is the usual case, and looking at folders would take longer than the rest.
        return UploadedInputs()
    folder = _app_folder(path, options)
    files = local_files(path, call)
    base = _requirements_folder(path, options)
    has_local = local_requirements.has_local(written, base)
    if not files and not has_local:
        return UploadedInputs(folder=folder)
    with service.rest() as rest:
        sent = tuple(transfers.send_files(rest, files, log))
        if not has_local:
            return UploadedInputs(files=sent, folder=folder)
        replaced = local_requirements.replace_local(
            written, base, lambda project: distributions.publish(project, rest, log)
        )
    return UploadedInputs(files=sent, requirements=replaced, folder=folder)


def local_files(local_file_path: str, call: Call) -> list[LocalFile]:
    """
    Return the files of this machine that travel with *call*; nothing is uploaded.

    Raises:
        OptionError: A file does not exist, or cannot travel.
    """
    return select_files(local_file_path, call.environment, call.host_options).collect()


def local_sources(local_file_path: str, call: Call) -> dict[Path, Distribution]:
    """
    Return the projects of this machine that *call* requires, packed; nothing is uploaded.

    Raises:
        OptionError: A folder that is named is no project.

        EnvironmentBuildError: A project cannot be packed.
    """
    written = _requirements_of(call.environment)
    base = _requirements_folder(local_file_path, call.host_options)
    found = local_requirements.local_projects(written, base)
    return {folder: distributions.pack(folder) for folder in found}


def select_files(
    local_file_path: str, environment: Environment, options: HostOptions
) -> Selection:
    """Return the selection of files that travel: of an image its build context."""
    base = _base_folder(local_file_path)
    image = _image_of(environment)
    if image is not None:
        return Selection(
            paths=tuple(image.get("docker_files_list") or ()),
            ignored=tuple(image.get("docker_ignore") or ()),
            folder=_inside(base, image.get("docker_context_dir")),
            is_context=True,
        )
    folder = _inside(base, options.app_files_context_dir)
    written = options.app_files_ignore
    ignored = USUALLY_IGNORED if written is None else tuple(written)
    if local_file_path and options.app_files:
        # The function's own file travels sealed.
        own = os.path.relpath(Path(local_file_path).resolve(), folder)
        ignored = (*ignored, f"^{re.escape(Path(own).as_posix())}$")
    return Selection(paths=tuple(options.app_files or ()), ignored=ignored, folder=folder)


def _names_no_files(environment: Environment, options: HostOptions) -> bool:
    """Return whether neither files nor patterns of files are named."""
    named = options.app_files or options.app_files_ignore
    return not named and _image_of(environment) is None


def _image_of(environment: Environment) -> dict[str, Any] | None:
    """Return the image that the service makes *environment* of, if it does."""
    if environment.kind != "container":
        return None
    image = definition(environment).get("image")
    return image if isinstance(image, dict) else None


def _requirements_of(environment: Environment) -> Any:
    return getattr(environment, "requirements", None) or ()


def _requirements_folder(local_file_path: str, options: HostOptions) -> Path:
    return _inside(_base_folder(local_file_path), options.requirements_context_dir)


def _app_folder(local_file_path: str, options: HostOptions) -> str | None:
    """Return the folder of the function's file relative to that of the files; None without any."""
    if not options.app_files:
        return None
    base = _base_folder(local_file_path)
    folder = _inside(base, options.app_files_context_dir)
    return Path(os.path.relpath(base, folder)).as_posix()


def _base_folder(local_file_path: str) -> Path:
    """Return the folder of the function's file, or the working directory."""
    path = Path(local_file_path or os.getcwd()).expanduser().resolve()
    return path if path.is_dir() else path.parent


def _inside(base: Path, written: Any) -> Path:
    """Return the folder *written*, which may be relative to *base*."""
    return base if not written else (base / Path(written).expanduser()).resolve()
