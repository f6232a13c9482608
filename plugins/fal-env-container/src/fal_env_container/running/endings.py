"""
Endings: what the end of an engine's command means.
"""

from __future__ import annotations

import re
import signal

from fal_core.environments import OLDEST_PYTHON, python_problem
from fal_core.errors import HostError, OutOfMemory, WorkerLost
from fal_core.machines import Machine
from fal_core.workers import reason_of_exit
from fal_env_container.building.inventory import forget_image
from fal_env_container.engines import Engine, clean_problem
from fal_env_container.images.built_images import BuiltImage

#: What engines, and the first processes that they put into containers, say where the image has
#: no such program, or one that cannot be run.
_NO_PROGRAM = re.compile(
    r"executable file .*not found|\bexec\b.*: no such file or directory|command was not found",
    re.I,
)
_UNFIT_PROGRAM = re.compile(r"exec.*: permission denied|exec format error", re.I)
_FOREIGN_PROGRAM = re.compile(r"exec format error", re.I)
_NO_DEVICE = re.compile(r"unresolvable CDI devices? (.+)")
_NO_IMAGE = re.compile(r"image not known|no such image|unable to find image|not found", re.I)
_NO_NETWORK = re.compile(r"network .*not found|unable to find network", re.I)
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

#: The exit codes of engines: a fault of theirs, a fault as they start a container, and a
#: program that was killed.
_ENGINE, _UNFIT, _KILLED = 125, 126, 137


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
    sentence = _explain_image(engine, image, executable, said)
    is_engine = sentence is None and code == _ENGINE
    if is_engine and _NO_IMAGE.search(said) and not _NO_NETWORK.search(said):
        forget_image(engine, image)
        sentence = (
            f"Image {image.name!r} was removed from {engine.name} since it was found or built. "
            "Call again, and it is looked for anew."
        )
    if sentence is None and (code in (_ENGINE, _UNFIT) or _NETWORK_FAILED.search(said)):
        problem = _last_problem(said)
        sentence = f"{engine.name} made no container of image {image.name!r}: {problem}."
    return None if sentence is None else HostError(sentence)


def _explain_image(engine: Engine, image: BuiltImage, executable: str, said: str) -> str | None:
    """
    Return what *image* lacks, or the engine to run it, as a sentence; None if nothing.
    """
    name = f"Image {image.name!r}"
    if image.platform != engine.platform and _FOREIGN_PROGRAM.search(said):
        return f"{name} is for {image.platform}: {engine.explain_platform(image.platform)}."
    if _NO_PROGRAM.search(said):
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
    if _UNFIT_PROGRAM.search(said):
        return f"{name} has no Python that {engine.name} can run: {_last_problem(said)}."
    return None


def _last_problem(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    last = (errors or lines or ["it does not say why"])[-1]
    if last.endswith(":") and last != lines[-1]:
        # The reason stands below it.
        last = f"{last} {lines[lines.index(last) + 1].strip()}"
    return clean_problem(last)
