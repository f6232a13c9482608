"""
Surroundings: what a server, and all that it starts, keeps of the environment variables
that it was started with.

Builds and runners run what accounts send, and are children of the server: what it does
not have itself, none of them sees.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from fnmatch import fnmatchcase

#: What programs need to find their way on a machine and out of it; all of them patterns.
KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "TMPDIR", "TEMP", "TMP"),
    *("LANG", "LANGUAGE", "LC_*", "XDG_*", "PYTHON*"),
    # Certificates and proxies.
    *("SSL_CERT_*", "*_CA_BUNDLE", "*_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "*_PROXY", "*_proxy"),
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    # Libraries and accelerators.
    *("LD_*", "CUDA_*", "NVIDIA_*", "NCCL_*", "ROCR_*", "HIP_*", "OMP_*", "MKL_*"),
    # What environments are built from and with, and where they are kept.
    *("UV_*", "PIP_*", "CC", "CXX", "*FLAGS", "CPATH", "LIBRARY_PATH", "PKG_CONFIG_PATH"),
    "FAL_CORE_*",
)

#: What none of them needs that is called like what they do.
_LEFT_OUT = ("UV_PUBLISH_*", "PYTHONPATH")


def leave_behind(variables: MutableMapping[str, str], also_kept: Iterable[str] = ()) -> None:
    """
    Remove from *variables* what builds and runners are not to see.

    Arguments:
        also_kept: Names, or patterns of names, of what they are to see all the same.
    """
    named = tuple(also_kept)
    for name in list(variables):
        usual = _is_any(name, KEPT) and not _is_any(name, _LEFT_OUT)
        if not usual and not _is_any(name, named):
            del variables[name]


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
