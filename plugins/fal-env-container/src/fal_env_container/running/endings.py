"""Endings: what the end of an engine's command means."""

from __future__ import annotations

import re
import signal

from fal_core.environments import OLDEST_PYTHON, python_problem
from fal_core.errors import HostError, OutOfMemory, WorkerLost
from fal_core.machines import Machine
from fal_core.workers import reason_of_exit
from fal_env_container.building.inventory import forget_image
from fal_env_container.engines import Engine, clean_problem, find_problem
from fal_env_container.images.built_images import BuiltImage

#: How engines, runtimes, and the first processes that they put into containers begin to say
#: what is wrong with the program ``{}`` of an image. They lack programs of their own as well.
_PROGRAM = (
    r"exec: \\?\"{0}\\?\": |executable file [`'\"]{0}[`'\"] |\bexec (?:\S*/)?{0}(?: failed)?: |"
    r"open executable: |failed to exec pid1: "
)
_IS_MISSING = r"(?:{}).*(?:not found|no such file or directory)"
_IS_UNFIT = r"(?:{}).*permission denied|exec format error"
_FOREIGN_PROGRAM = re.compile(r"exec format error", re.I)
_NO_DEVICE = re.compile(r"unresolvable CDI devices? (.+)")
_NO_IMAGE = re.compile(
    r"image not known|no such image|unable to find image|image .*not found", re.I
)
#: What Podman says where a program that makes its networks fails, with any exit code.
_NETWORK_FAILED = re.compile(r"^Error: .*\b(netavark|aardvark-dns|pasta|slirp4netns)\b", re.M)

#: Run before all else by the Python of an image, which may be too old to understand more.
CHECK = f"""\
import os, sys
if sys.version_info < {OLDEST_PYTHON}:
    version = ".".join(str(number) for number in sys.version_info[:3])
    os.write(2, ("Python %s is too old for a worker.\\n" % version).encode())
    os._exit(1)
"""
_TOO_OLD = re.compile(r"^Python (\S+) is too old for a worker\.$", re.M)
#: What they say as they lose a container that runs.
_ENDED = re.compile(r"wait(ing)? for container|container state improper", re.I)

#: The exit codes of engines: a fault of theirs, a program that cannot be run or is not there,
#: and one that was killed.
_ENGINE, _UNFIT, _MISSING, _KILLED = 125, 126, 127, 137


def explain(
    engine: Engine,
    image: BuiltImage,
    executable: str,
    machine: Machine | None,
    code: int,
    said: str,
) -> HostError | None:
    """
    Return why a container of *image* has ended before its worker did, or for want of memory;
    None where its worker has ended it.

    Arguments:
        machine: What the container was limited to. None where nothing was.
    """
    if code in (-signal.SIGKILL, -signal.SIGTERM) or _ENDED.search(said):
        return WorkerLost(
            signal=-code if code < 0 else None,
            detail=f"{engine.name} itself was ended or restarted while its container ran.",
        )
    if code == 128 + signal.SIGTERM:
        return WorkerLost(
            signal=signal.SIGTERM,
            detail=f"If the function has not done so, {engine.name} has stopped its container, "
            "as it does when it is stopped or restarted.",
        )
    if code == _KILLED:
        reason = reason_of_exit(code, said, machine)
        return reason if isinstance(reason, OutOfMemory) else None
    fails_of_network = _NETWORK_FAILED.search(said) is not None
    sentence = None if fails_of_network else _explain_image(engine, image, executable, said)
    if sentence is None and code == _ENGINE and _NO_IMAGE.search(said):
        forget_image(engine, image)
        sentence = (
            f"{image.described} was removed from {engine.name} since it was found or built. "
            "Call again, and it is looked for anew."
        )
    problem = find_problem(said)
    # A worker may end with these codes too, of which the engine says nothing.
    is_engine = code in (_ENGINE, _UNFIT, _MISSING) or fails_of_network
    if sentence is None and is_engine and problem is not None:
        described = image.described[:1].lower() + image.described[1:]
        sentence = f"{engine.name} made no container of {described}: {problem}."
    return None if sentence is None else HostError(sentence)


def _explain_image(engine: Engine, image: BuiltImage, executable: str, said: str) -> str | None:
    """Return what *image* lacks, or the engine to run it, as a sentence; None if nothing."""
    name = image.described
    program = _PROGRAM.format(re.escape(executable))
    if image.platform != engine.platform and _FOREIGN_PROGRAM.search(said):
        return f"{name} is for {image.platform}: {engine.explain_platform(image.platform)}."
    if re.search(_IS_MISSING.format(program), said, re.I):
        return (
            f"{name} has no Python: there is no program {executable!r} in it. A function needs "
            "an image that has Python 3.10 or newer."
        )
    if old := _TOO_OLD.search(said):
        return python_problem(old[1]).replace("The environment", name)
    if unknown := _NO_DEVICE.search(said):
        uuids = ", ".join(re.findall(r"nvidia\.com/gpu=([\w-]+)", unknown[1])) or unknown[1]
        return (
            f"{engine.name} knows no GPU {uuids}. Describe the GPUs of this machine to it, as "
            "by 'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml'."
        )
    if re.search(_IS_UNFIT.format(program), said, re.I):
        why = find_problem(said) or clean_problem(said.strip().rpartition("\n")[2])
        return f"{name} has no Python that {engine.name} can run: {why}."
    return None
