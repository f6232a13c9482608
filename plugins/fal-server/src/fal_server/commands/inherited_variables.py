"""
The environment variables that a server keeps, and that its child processes inherit.

Builds and runners run the code of accounts, and are children of the server: variables that
it removes from its own environment are hidden from them.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from fnmatch import fnmatchcase

#: Patterns of variables that programs need on any machine.
KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "TMPDIR", "TEMP", "TMP"),
    *("LANG", "LANGUAGE", "LC_*", "XDG_*", "PYTHON*"),
    # Certificates and proxies.
    *("SSL_CERT_*", "*_CA_BUNDLE", "*_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "*_PROXY", "*_proxy"),
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    # Libraries and accelerators.
    *("LD_*", "CUDA_*", "NVIDIA_*", "NCCL_*", "ROCR_*", "HIP_*", "OMP_*", "MKL_*"),
    # What builders need: indexes, compilers, caches.
    *("UV_*", "PIP_*", "CC", "CXX", "*FLAGS", "CPATH", "LIBRARY_PATH", "PKG_CONFIG_PATH"),
    # How engines of containers, and rattler, are found and set up.
    *("CONTAINERS_*", "CONTAINER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST"),
    *("PODMAN_*", "REGISTRY_AUTH_FILE", "CONDA_OFFLINE", "CONDA_OVERRIDE_*", "RATTLER_*"),
    "FAL_CORE_*",
    # How hosts of other machines are reached, without what they are reached with.
    *("FAL_RAY_*", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_TLS_*"),
)

#: Variables that match these patterns, and that no child process needs.
_LEFT_OUT = ("UV_PUBLISH_*", "PYTHONPATH")


def leave_behind(variables: MutableMapping[str, str], also_kept: Iterable[str] = ()) -> None:
    """
    Remove the variables that builds and runners must not see from *variables*.

    Arguments:
        also_kept: Further names, or patterns of names, to keep.
    """
    named = tuple(also_kept)
    for name in list(variables):
        usual = _is_any(name, KEPT) and not _is_any(name, _LEFT_OUT)
        if not usual and not _is_any(name, named):
            del variables[name]


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
