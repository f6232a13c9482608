"""
Network namespaces, in which two services can have the same port.

The program ``pasta`` connects a namespace to the network of this machine: it forwards a
port of the machine to a port inside, and connections from inside to the outside.

The module is also a program: run by its path, it becomes the command that it is given,
in a network namespace.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1


@cache
def missing() -> str:
    """
    Return why there can be no network namespaces, as a sentence. Empty if there can be.
    """
    if not sys.platform.startswith("linux"):
        return "Only Linux has network namespaces, where each could have its own."
    if shutil.which("pasta") is None:
        return (
            "Where the program pasta is installed (of the package passt), "
            "each gets a network of its own."
        )
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "A network of its own needs /dev/net/tun, which this user may not open."
    tried = ["unshare", "--user", "--net", "true"]
    if shutil.which("unshare") and subprocess.run(tried, capture_output=True).returncode:
        return "A network of its own needs user namespaces, which this machine refuses."
    return ""


def main() -> None:
    """
    Become the command ``sys.argv[4:]`` in a network namespace.

    The arguments before it are the path of ``pasta``, a port of this machine, and the
    port inside that it is forwarded to.
    """
    pasta, outer, inner, *argv = sys.argv[1:]
    parent = os.getpid()
    apart, go = os.pipe()
    child = os.fork()
    if not child:
        os.close(go)
        # It starts once the namespace exists, and ends with the process that waits for it.
        os._exit(join(pasta, parent, outer, inner) if os.read(apart, 1) else 1)
    os.close(apart)
    try:
        leave()
    except OSError as error:
        sys.exit(f"A network namespace cannot be made: {error.strerror}.")
    os.write(go, b"\0")
    os.close(go)
    if os.waitpid(child, 0)[1]:
        sys.exit("A network namespace was made, and pasta does not connect it.")
    os.execvp(argv[0], argv)


def leave() -> None:
    """
    Enter a new network namespace, and a user namespace, which that requires.

    Raises:
        OSError: The machine does not allow it.
    """
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    # A change of credentials resets it.
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _keep_user(pid: int) -> None:
    """
    Map the user of *pid* to itself in its namespace. For root, map all users.
    """
    user, group = os.getuid(), os.getgid()
    if user:
        with open(f"/proc/{pid}/setgroups", "w") as file:
            file.write("deny")
    for name, number in (("uid_map", user), ("gid_map", group)):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(f"{number} {number} 1" if user else "0 0 4294967295")


def join(pasta: str, pid: int, outer: str, inner: str) -> int:
    """
    Start ``pasta`` for the network of *pid*. Return 0 once it is ready, else 1.

    It continues in the background, as an orphan, and ends with the namespace.
    """
    _keep_user(pid)
    argv = [pasta, "--config-net", "--quiet", "--runas", str(os.getuid())]
    argv += ["--userns", f"/proc/{pid}/ns/user", "--netns", f"/proc/{pid}/ns/net"]
    argv += ["-t", f"127.0.0.1/{outer}:{inner}", "-u", "none", "-T", "none", "-U", "none"]
    # This reaches services that listen on the loopback alone. Older versions lack the option
    # and always do so.
    return _run([*argv, "--host-lo-to-ns-lo"], tell=False) and _run(argv, tell=True)


def _run(argv: list[str], *, tell: bool) -> int:
    with tempfile.TemporaryFile() as said:
        null = subprocess.DEVNULL
        code = subprocess.call(argv, stdin=null, stdout=null, stderr=said)
        if code and tell:
            said.seek(0)
            os.write(2, said.read())
    return 1 if code else 0


if __name__ == "__main__":
    main()
