"""
Keepers: the actors of nodes, which have agents as their children.

This runs in the Python of the cluster, which need not have fal-core: it imports Ray and the
standard library alone, and travels there with the class of the actor.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from typing import IO, Any

#: Bytes of the errors of an agent that are kept.
_SAID = 4096
#: The first lines of an agent, which has what it imports in one folder.
_AGENT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from fal_host_ray.nodes.agent import main; main()"
)


class Keeper:
    """
    The actor of a node: it has the agent as its child.
    """

    def __init__(self) -> None:
        self.agent: subprocess.Popen[bytes] | None = None
        self.said = b""
        self.writing = threading.Lock()

    def begin(self, digest: str, code: list[Any]) -> dict[str, Any]:
        """
        Start the agent, and return where it listens.
        """
        import ray

        try:
            folder = unpack(digest, code)
        except OSError as error:
            return {"why": f"It cannot be given the code of its agent: {error}"}
        address = ray.util.get_node_ip_address()
        variables = {
            k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))
        }
        self.agent = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _AGENT, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            start_new_session=True,
        )
        assert self.agent.stdout is not None
        threading.Thread(target=self._listen, args=(self.agent.stderr,), daemon=True).start()
        self._write({"address": address})
        answer = self.agent.stdout.readline()
        if not answer:
            self.agent.wait()
            return {"why": self.said.decode(errors="replace").strip() or "It said nothing."}
        return {"address": address, **json.loads(answer)}

    def take(self, place: dict[str, Any]) -> None:
        """
        Tell the agent of a worker that it is asked for, or to end.
        """
        self._write(place)

    def wait(self) -> str:
        """
        Wait for the end of the agent, and return what it has said last.
        """
        assert self.agent is not None
        code = self.agent.wait()
        said = self.said.decode(errors="replace").strip()
        return f"Its agent has ended with exit code {code}. {said}"

    def _write(self, line: dict[str, Any]) -> None:
        assert self.agent is not None
        assert self.agent.stdin is not None
        with self.writing:
            self.agent.stdin.write(json.dumps(line).encode() + b"\n")
            self.agent.stdin.flush()

    def _listen(self, output: IO[bytes]) -> None:
        for line in output:
            self.said = (self.said + line)[-_SAID:]


def unpack(digest: str, code: list[Any]) -> str:
    """
    Return the folder of the code of *digest* on this node, unpacking it if it is not there.
    """
    parent = os.path.join(_cache_root(), "ray", "code")
    folder = os.path.join(parent, digest)
    import ray

    os.makedirs(parent, 0o700, exist_ok=True)
    if os.stat(parent).st_uid != os.getuid():
        raise PermissionError(f"{parent} belongs to another user: set FAL_CORE_CACHE there.")
    if os.path.isdir(folder):
        return folder
    made = tempfile.mkdtemp(dir=parent, prefix=".new-")
    try:
        with zipfile.ZipFile(io.BytesIO(ray.get(code[0]))) as archive:
            archive.extractall(made)
            for each in archive.infolist():
                if each.external_attr >> 16 & 0o111:
                    os.chmod(os.path.join(made, each.filename), 0o755)
        os.rename(made, folder)
    except OSError:
        # Another actor of this node may have been quicker.
        if not os.path.isdir(folder):
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _cache_root() -> str:
    # As fal_core.caches has it, which is not there.
    named = os.environ.get("FAL_CORE_CACHE")
    if named:
        return os.path.abspath(os.path.expanduser(named))
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(os.path.abspath(home), "fal-core")
