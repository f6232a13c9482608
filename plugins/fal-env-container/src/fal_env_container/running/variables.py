"""
Variables: which of the caller's environment variables a container has.

A container has those of its image, and of the caller's those that say nothing about this
machine. The engine takes their values from its own environment: a command line can be read by
other users.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping

from fal_core.events import Log, LogSink
from fal_env_container.building.caller_settings import CERTIFICATE_VARIABLES, loopback_proxies

#: Variables that describe this machine, the session of its user, or their Python.
_OF_THIS_MACHINE = frozenset(
    [
        "_",
        "CUDA_VISIBLE_DEVICES",
        "DISPLAY",
        "FAL_CORE_CACHE",
        "HOME",
        "HOSTNAME",
        "JOURNAL_STREAM",
        "LANG",
        "LANGUAGE",
        "LOGNAME",
        "LS_COLORS",
        "MAIL",
        "NOTIFY_SOCKET",
        "NVIDIA_VISIBLE_DEVICES",
        "OLDPWD",
        "PATH",
        "PWD",
        "SHELL",
        "SHLVL",
        "SSL_CERT_DIR",
        "TEMP",
        "TMP",
        "TMPDIR",
        "TERM",
        "USER",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
        "container",
    ]
)
_PREFIXES = (
    *("BUILDAH_", "CONDA_", "CONTAINER", "DBUS_", "DOCKER_", "LC_"),
    *("LD_", "PODMAN_", "PYTHON", "SSH_", "STORAGE_", "SUDO_", "SYSTEMD_", "UV_", "XDG_"),
    "__",
)

#: Variables of builders, which may hold logins of the user.
_OF_BUILDS = ("NETRC", "PIP_", "RATTLER_", "REGISTRY_AUTH_FILE")

#: Variables that engines read, and that lead them or the programs that they start elsewhere.
#: None holds a secret, and each is named whole: others that begin alike may.
_OF_ENGINES = frozenset(
    [
        *("CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE", "CONTAINERD_SNAPSHOTTER"),
        *("CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE", "CONTAINERS_REGISTRIES_CONF"),
        *("CONTAINERS_REGISTRIES_CONF_DIR", "CONTAINERS_STORAGE_CONF"),
        *("CONTAINER_CONNECTION", "CONTAINER_HOST", "CONTAINER_PROXY", "CONTAINER_SSHKEY"),
        *("CONTAINER_TLS_CA", "CONTAINER_TLS_CERT", "CONTAINER_TLS_KEY"),
        *("DBUS_SESSION_BUS_ADDRESS", "DOCKER_API_VERSION", "DOCKER_CERT_PATH"),
        *("DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_DEFAULT_PLATFORM", "DOCKER_HOST"),
        *("DOCKER_TLS", "DOCKER_TLS_VERIFY", "FAL_CORE_CACHE", "GODEBUG", "GOGC"),
        *("GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "HOME", "LANG", "NERDCTL_TOML"),
        *("NOTIFY_SOCKET", "PATH", "PODMAN_USERNS", "SSH_AUTH_SOCK", "SSL_CERT_DIR"),
        *("SSL_CERT_FILE", "STORAGE_DRIVER", "STORAGE_OPTS", "TMPDIR", "USER"),
    ]
)
_ENGINE_PREFIXES = ("BUILDAH_", "LC_", "LD_", "XDG_", "_CONTAINERS_")


def is_of_engine(name: str) -> bool:
    """Tell whether an engine, which has the variable *name* too, would take its value for its own."""
    return name in _OF_ENGINES or name.startswith(_ENGINE_PREFIXES)


def is_of_this_machine(name: str) -> bool:
    """Tell whether the variable *name* is about this machine, and not about the function."""
    return name in _OF_THIS_MACHINE or name.startswith(_PREFIXES)


def inherited(image: Collection[str], *, trusted: bool = True) -> Iterable[str]:
    """
    Return the names of variables of this process that a container has as well.

    Arguments:
        image: The names of those that the image sets.

        trusted: Whether it may have those of builds on this machine, such as the URLs of
            indexes with their passwords.
    """
    return [
        name
        for name in os.environ
        if name not in image
        and name not in CERTIFICATE_VARIABLES
        and not is_of_this_machine(name)
        and (trusted or not name.startswith(_OF_BUILDS))
    ]


def certificates() -> Mapping[str, str]:
    """Return the variables that name files of certificates, each with the path of its file."""
    found = {name: os.environ.get(name, "") for name in CERTIFICATE_VARIABLES}
    return {name: os.path.abspath(path) for name, path in found.items() if os.path.isfile(path)}


def warn_of_proxies(network: bool | str, log: LogSink) -> None:
    """Tell *log* of proxies that containers of *network* are told of and do not reach."""
    if network is False or network == "host":
        return
    found = loopback_proxies()
    if found:
        names = " and ".join(sorted(found))
        line = (
            f"{names} name a proxy on the loopback of this machine, which a container does not "
            "reach: it has a loopback of its own. Write network='host', or name the proxy by "
            "an address that other machines reach."
        )
        log(Log(line, "WARNING", "BUILDER", time.time()))
