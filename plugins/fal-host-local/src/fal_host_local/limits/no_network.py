"""
No network: a program that becomes the command it is given, in a network that has nothing
but its own loopback address.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fal_core.environments import Command

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1


def words() -> tuple[str, ...]:
    """Return what turns a command behind it into one without a network."""
    return (sys.executable, "-I", "-S", __file__)


def enter(command: Command) -> Command:
    """Return a command that runs *command* without a network."""
    import attrs

    return attrs.evolve(command, argv=(*words(), *command.argv))


@cache
def problem() -> str:
    """Return why no process can be without a network here, as a sentence. Empty if it can."""
    if not sys.platform.startswith("linux"):
        return "Only Linux can take the network away from a process."
    import subprocess

    done = subprocess.run([*words(), "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def main() -> None:
    """Become the command ``sys.argv[1:]``."""
    try:
        _leave()
        _bring_up("lo")
    except OSError as error:
        sys.exit(f"The network cannot be taken away: {error.strerror}.")
    os.execvp(sys.argv[1], sys.argv[1:])


def _leave() -> None:
    try:
        # Root needs no other user for it.
        _call("unshare", _CLONE_NEWNET)
    except OSError:
        user, group = os.getuid(), os.getgid()
        _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        # A change of credentials has reset it.
        _call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def _bring_up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", name.encode(), 0)
        flags = struct.unpack("16xh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[0]
        request = struct.pack("16sh14x", name.encode(), flags | _IFF_UP)
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def _call(name: str, *arguments: int) -> None:
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*map(ctypes.c_ulong, arguments)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
