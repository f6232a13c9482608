"""
Names of the SDK that are not here, and what to use in their place.

Importing one raises an error that says so.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn

_PACKAGE = __name__.partition(".")[0]

_OWN_TOOLS = "nothing: it is a part of fal's own command line and client"
_CLIENT = "SyncServerlessClient, whose namespaces have the operations of the service"

#: The names, and of each what to use. They are those of the page *From fal*.
ABSENT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("fal.app_files", "fal.cli", "fal.compat", "fal.config", "fal.console"),
            *("fal.file_sync", "fal.flags", "fal.logging", "fal.project", "fal.upload"),
            *("fal.utils", "fal.toolkit.image.nsfw_filter"),
        ),
        _OWN_TOOLS,
    ),
    "fal.api.run": "fal-core run",
    "fal.app.open_isolate_channel": "nothing: no process needs it",
    "fal.auth": "fal.sdk.get_credentials, which finds a key or a login",
    **dict.fromkeys(("fal.distributed.utils", "fal.distributed.worker"), "fal.distributed"),
    "fal.exceptions.auth": "fal.exceptions",
    "fal.exceptions.gpu": "fal.exceptions",
    **dict.fromkeys(
        (
            *("fal.sdk.ApplicationInfo", "fal.sdk.BuildEnvironmentResult"),
            *("fal.sdk.FalServerlessClient", "fal.sdk.FalServerlessConnection"),
            *("fal.sdk.File", "fal.sdk.HostedRunResult", "fal.sdk.HostedRunState"),
            *("fal.sdk.HostedRunStatus", "fal.sdk.MachineRequirements"),
            *("fal.sdk.RegisterApplicationResultType", "fal.sdk.ReplaceState"),
            *("fal.sdk.WorkerStatus", "fal.sdk.construct_alias", "fal.sdk.deconstruct_alias"),
        ),
        _CLIENT,
    ),
    **dict.fromkeys(
        (
            *("fal.sdk.AuthenticatedCredentials", "fal.sdk.LocalCredentials"),
            *("fal.sdk.RemoteCredentials", "fal.sdk.ServerCredentials"),
            *("fal.sdk.get_agent_credentials", "fal.sdk.get_default_server_credentials"),
        ),
        "fal.sdk.get_credentials",
    ),
    "fal.sdk.DeploymentStrategy": "the texts 'recreate' and 'rolling'",
    "fal.sdk.validate_retry_config_dict": "nothing: retry_config is checked as it is written",
    "fal.toolkit.file.MultipartUploadV3": "the default repository, which takes any size",
    "fal.toolkit.image.safety_checker": "a model of your own that marks images, and filter_by",
    "fal.toolkit.utils.ssrf": "download_file and File.save, which refuse private addresses",
    **dict.fromkeys(
        ("fal.toolkit.utils.SSRFError", "fal.toolkit.utils.SSRFHTTPStatusError"),
        "DownloadError",
    ),
    "fal.toolkit.utils.SafeResponse": "download_file",
    **dict.fromkeys(
        ("fal.toolkit.utils.patch_onnx_runtime", "fal.toolkit.utils.setup_utils"),
        "intra_op_num_threads of onnxruntime's SessionOptions",
    ),
    "fal.wma": "fal.realtime, whose messages go over a websocket",
    "fal.workflows": "the JSON of a workflow, which a server takes and runs",
}


def explain(path: str) -> str | None:
    """Return what to say of *path*, a name in this package; None if it is not one of these."""
    released = "fal" + path.removeprefix(_PACKAGE)
    advice = ABSENT.get(released)
    return None if advice is None else f"{_PACKAGE} has no {released}. Instead of it: {advice}."


def refuse(module: str, name: str) -> NoReturn:
    """
    Raise the error for an attribute that *module* does not have.

    Raises:
        ImportError: The SDK has it; *module* is no package, whose names are found below.

        AttributeError: It has not.
    """
    said = explain(f"{module}.{name}")
    if said is not None and not hasattr(sys.modules[module], "__path__"):
        raise ImportError(said, name=module)
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


class _Finder:
    """Comes last in ``sys.meta_path``, and finds nothing."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.startswith(f"{_PACKAGE}.") and (said := explain(name)):
            raise ImportError(said, name=name)
        return None


def install() -> None:
    """Have imports of these modules, and of these names from packages, say what to use."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.append(_Finder())
