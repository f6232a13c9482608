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
from collections.abc import Sequence
from functools import cache

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000
_PR_SET_PDEATHSIG = 1

#: Link-local addresses, which no network assigns: that of the namespace, and that of the
#: nameserver inside.
_ADDRESS, _NAMESERVER = "169.254.203.1", "169.254.203.2"
_RESOLVERS = "/etc/resolv.conf"


#: Seconds that the system may take to make a namespace.
_PATIENCE = 30.0


@cache
def missing() -> str:
    """Return why there can be no network namespaces, as a sentence. Empty if there can be."""
    if not sys.platform.startswith("linux"):
        return "Only Linux has network namespaces, where each could have its own."
    if shutil.which("pasta") is None:
        return (
            "Where the program pasta is installed (of the package passt), "
            "each gets a network of its own."
        )
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "A network of its own needs /dev/net/tun, which this user may not open."
    if shutil.which("unshare") and not _can_unshare():
        return "A network of its own needs user namespaces, which this machine refuses."
    return ""


def _can_unshare() -> bool:
    tried = ["unshare", "--user", "--net", "true"]
    try:
        return not subprocess.run(tried, capture_output=True, timeout=_PATIENCE).returncode
    except subprocess.TimeoutExpired:
        return False


def command(published: str, reached: Sequence[int] = ()) -> tuple[str, ...]:
    """
    Return what turns a command behind it into one that runs in a network namespace.

    Arguments:
        published: A port of this machine and the port inside that it is forwarded to, as
            in ``8081:8080``. Empty for none.

        reached: Ports of the loopback address of this machine that are reached inside.
    """
    pasta = shutil.which("pasta") or "pasta"
    ports = ",".join(map(str, reached))
    return (sys.executable, "-I", "-S", __file__, pasta, published, ports)


def main() -> None:
    """
    Become the command ``sys.argv[4:]`` in a network namespace.

    The arguments before it are those of :func:`command`.
    """
    pasta, published, reached, *argv = sys.argv[1:]
    parent = os.getpid()
    resolves = _has_local_nameserver()
    apart, go = os.pipe()
    child = os.fork()
    if not child:
        os.close(go)
        # It starts once the namespace exists, and ends with the process that waits for it.
        joins = os.read(apart, 1) and not join(pasta, parent, published, reached, resolves)
        os._exit(0 if joins else 1)
    os.close(apart)
    try:
        leave(mounts=resolves)
    except OSError as error:
        sys.exit(f"A network namespace cannot be made: {error.strerror}.")
    os.write(go, b"\0")
    os.close(go)
    if os.waitpid(child, 0)[1]:
        sys.exit("A network namespace was made, and pasta does not connect it.")
    if resolves:
        _name_nameserver()
    os.execvp(argv[0], argv)


def leave(*, mounts: bool = False) -> None:
    """
    Enter a new network namespace, and a user namespace, which that requires.

    Arguments:
        mounts: Whether a mount namespace is entered too.

    Raises:
        OSError: The machine does not allow it.
    """
    kinds = _CLONE_NEWUSER | _CLONE_NEWNET | (_CLONE_NEWNS if mounts else 0)
    _call("unshare", kinds)
    # A change of credentials resets it.
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _keep_user(pid: int) -> None:
    """Map the user of *pid* to itself in its namespace. For root, map all users."""
    user, group = os.getuid(), os.getgid()
    if user:
        with open(f"/proc/{pid}/setgroups", "w") as file:
            file.write("deny")
    for name, number in (("uid_map", user), ("gid_map", group)):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(f"{number} {number} 1" if user else "0 0 4294967295")


def join(
    pasta: str,
    pid: int,
    published: str,
    reached: str,
    resolves: bool,
    options: Sequence[str] = (),
) -> int:
    """
    Start ``pasta``, with further *options*, for the network of *pid*. Return 0 once it is
    ready, else 1.

    It continues in the background, as an orphan, and ends with the namespace.
    """
    _keep_user(pid)
    argv = [pasta, "--config-net", "--quiet", "--runas", str(os.getuid()), *options]
    argv += ["--userns", f"/proc/{pid}/ns/user", "--netns", f"/proc/{pid}/ns/net"]
    argv += ["-u", "none", "-T", reached or "none", "-U", "none"]
    if resolves:
        argv += ["--dns-forward", _NAMESERVER]
    if not published:
        # Inside, an address of this machine leads to it, and not back into the namespace.
        return _run([*argv, "-t", "none", "-a", _ADDRESS, "-n", "32"], tell=True)
    argv += ["-t", f"127.0.0.1/{published}"]
    # This reaches services that listen on the loopback alone. Older versions lack the option
    # and always do so.
    return _run([*argv, "--host-lo-to-ns-lo"], tell=False) and _run(argv, tell=True)


def _has_local_nameserver() -> bool:
    """
    Return whether the nameserver of this machine listens on the loopback address, which is
    another one inside.
    """
    try:
        with open(_RESOLVERS) as file:
            lines = [line.split() for line in file]
    except OSError:
        return False
    first = next((words[1] for words in lines if words[:1] == ["nameserver"] and words[1:]), "")
    return first.startswith("127.") or first == "::1"


def _name_nameserver() -> None:
    """Have this process use the nameserver that ``pasta`` forwards to that of the machine."""
    with open(_RESOLVERS) as file:
        kept = [line for line in file if line.split()[:1] != ["nameserver"]]
    with tempfile.NamedTemporaryFile("w", prefix="fal-core-resolv-") as file:
        file.writelines([f"nameserver {_NAMESERVER}\n", *kept])
        file.flush()
        os.chmod(file.name, 0o644)
        _call("mount", b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
        target = os.fsencode(os.path.realpath(_RESOLVERS))
        _call("mount", os.fsencode(file.name), target, None, _MS_BIND, None)


def _call(name: str, *arguments: object) -> None:
    """
    Call a function of the C library.

    Raises:
        OSError: It has failed.
    """
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    numbers = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    if getattr(library, name)(*numbers):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def listening_ports(*own: int) -> list[int]:
    """Return the TCP ports that are listened on in this network, without *own*."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{name}") as file:
                lines = [line.split() for line in file][1:]
        except OSError:
            continue
        found |= {int(words[1].rpartition(":")[2], 16) for words in lines if words[3] == "0A"}
    return sorted(found.difference(own))


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
