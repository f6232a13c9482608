"""
The launcher: a program that speaks to Ray, and to the process that started it by lines.

It runs in a Python that has Ray, where nothing else of this package need be installed: it
imports Ray and the standard library alone. It reads requests from its standard input, one
JSON object a line, and writes events to its standard output. All that it has started ends
with it, as Ray ends the actors of a program that is gone.

A request is ``{"id": …, "start": {…}}``, ``{"id": …, "end": true}`` or, of detached work,
``{"id": …, "detached": {…}}``, which gets one event, ``answer``. The events of a
start are ``queued`` with ``why``, ``up`` with ``address``, ``node`` and ``python``,
``refused`` with ``why``, ``lost`` with ``why`` and ``node``, and ``ended`` with ``code``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import IO, Any

#: Seconds that an actor may take until it is told that it waits.
_PATIENCE = 1.0
#: Seconds between two looks at what an actor waits for.
_TURN = 5.0
#: Bytes of the errors of an agent that are kept.
_SAID = 4096

#: The first lines of an agent, which has what it imports in one folder.
_AGENT = "import sys; sys.path.insert(0, sys.argv[1]); from fal_host_ray.nodes.agent import main; main()"


class Keeper:
    """
    The actor of one worker: it holds the place in the cluster, and the agent as its child.
    """

    def __init__(self) -> None:
        self.agent: subprocess.Popen[bytes] | None = None
        self.said = b""

    def start(self, asked: dict[str, Any], code: list[Any]) -> dict[str, Any]:
        """
        Start the agent, and return where it listens.
        """
        import ray

        folder = _unpack(asked["digest"], code)
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
        assert self.agent.stdin is not None
        assert self.agent.stdout is not None
        threading.Thread(target=self._listen, args=(self.agent.stderr,), daemon=True).start()
        line = json.dumps({"address": address, **asked["agent"]})
        self.agent.stdin.write(line.encode() + b"\n")
        self.agent.stdin.flush()
        answer = self.agent.stdout.readline()
        if not answer:
            self.agent.wait()
            return {"why": self.said.decode(errors="replace").strip() or "It said nothing."}
        version = ".".join(map(str, sys.version_info[:3]))
        return {"address": address, **json.loads(answer), "python": version}

    def wait(self) -> int:
        """
        Wait for the end of the agent, and return its exit code.
        """
        assert self.agent is not None
        return self.agent.wait()

    def _listen(self, output: IO[bytes]) -> None:
        for line in output:
            self.said = (self.said + line)[-_SAID:]


def _unpack(digest: str, code: list[Any]) -> str:
    """
    Return the folder of the code of *digest* on this node, unpacking it if it is not there.
    """
    import shutil
    import tempfile
    import zipfile

    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    parent = os.path.join(cache, "fal-core", "ray", "code")
    folder = os.path.join(parent, digest)
    if os.path.isdir(folder):
        return folder
    import io

    import ray

    os.makedirs(parent, exist_ok=True)
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


class Launcher:
    """
    The requests that this process has, and the actors that it has made for them.
    """

    def __init__(self, output: IO[bytes]) -> None:
        import ray

        self.ray = ray
        self.output = output
        self.writing = threading.Lock()
        self.actors: dict[int, Any] = {}
        self.ended: set[int] = set()
        self.lock = threading.Lock()
        self.codes: dict[str, Any] = {}
        self.keeper = ray.remote(Keeper)
        actors = _load("detached_actors")
        self.detached = actors.DetachedActors(ray, options_of, _unpack)

    def tell(self, number: int, event: str, **facts: Any) -> None:
        line = json.dumps({"id": number, "event": event, **facts}).encode() + b"\n"
        with self.writing:
            self.output.write(line)
            self.output.flush()

    def take(self, request: dict[str, Any]) -> None:
        number = request["id"]
        if "start" in request:
            threading.Thread(
                target=self.run, args=(number, request["start"]), daemon=True
            ).start()
        elif "detached" in request:
            threading.Thread(
                target=self.answer, args=(number, request["detached"]), daemon=True
            ).start()
        elif request.get("end"):
            self.end(number)

    def answer(self, number: int, asked: dict[str, Any]) -> None:
        """
        Answer what is asked of detached work.
        """
        try:
            problem = self.problem_of(asked["resources"]) if "resources" in asked else ""
            found = (
                {"found": "refused", "why": problem} if problem else self.detached.answer(asked)
            )
        except Exception as error:
            found = {"found": "refused", "why": f"{type(error).__name__}: {_sentence(error)}"}
        self.tell(number, "answer", **found)

    def end(self, number: int) -> None:
        """
        End the actor of a request; its agent ends with it.
        """
        with self.lock:
            self.ended.add(number)
            actor = self.actors.pop(number, None)
        if actor is not None:
            self.ray.kill(actor)

    def run(self, number: int, asked: dict[str, Any]) -> None:
        node = ""
        try:
            problem = self.problem_of(asked["resources"])
            if problem:
                self.tell(number, "refused", why=problem)
                return
            actor = self.make(number, asked)
            if actor is None:
                return
            began = actor.start.remote(
                asked, [self.put_code(asked["digest"], asked["archive"])]
            )
            self.await_start(number, began, asked)
            answer = self.ray.get(began)
            if "why" in answer:
                self.tell(number, "refused", why=answer["why"])
                return
            node = answer["node"]
            self.tell(number, "up", **answer)
            code = self.ray.get(actor.wait.remote())
            self.tell(number, "ended", code=code)
        except self.ray.exceptions.RayActorError as error:
            self.tell(number, "lost", why=_sentence(error), node=node)
        except Exception as error:
            self.tell(number, "refused", why=f"{type(error).__name__}: {_sentence(error)}")
        finally:
            with self.lock:
                actor = self.actors.pop(number, None)
                self.ended.discard(number)
            if actor is not None:
                self.ray.kill(actor)

    def make(self, number: int, asked: dict[str, Any]) -> Any:
        options = options_of(asked["resources"])
        with self.lock:
            if number in self.ended:
                return None
            actor = self.keeper.options(**options).remote()
            self.actors[number] = actor
        return actor

    def put_code(self, digest: str, archive: str) -> Any:
        """
        Return a reference to the code of *digest*, which nodes that lack it fetch.
        """
        with self.lock:
            if digest not in self.codes:
                with open(archive, "rb") as file:
                    self.codes[digest] = self.ray.put(file.read())
            return self.codes[digest]

    def problem_of(self, resources: dict[str, Any]) -> str:
        """
        Return why no node of the cluster can ever run an actor with *resources*, as a
        sentence; empty if one can.
        """
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        wanted = {
            "CPU": resources["cpus"],
            "GPU": resources["gpus"],
            "memory": resources.get("memory") or 0,
            **(resources.get("custom") or {}),
        }
        wanted = {name: amount for name, amount in wanted.items() if amount}
        labels = resources.get("labels") or {}
        for node in nodes:
            has = node["Resources"]
            own = node.get("Labels") or {}
            enough = all(has.get(name, 0) >= amount for name, amount in wanted.items())
            if enough and all(own.get(name) == value for name, value in labels.items()):
                return ""
        if _scales():
            return ""
        parts = [f"{amount:g} {name}" for name, amount in wanted.items()]
        parts += [f"the label {name}={value}" for name, value in labels.items()]
        most = {
            name: max((node["Resources"].get(name, 0) for node in nodes), default=0)
            for name in wanted
        }
        has = ", ".join(f"{amount:g} {name}" for name, amount in most.items())
        return f"None of the {len(nodes)} nodes has {', '.join(parts)}; the most that one has: {has}."

    def await_start(self, number: int, began: Any, asked: dict[str, Any]) -> None:
        """
        Wait until the agent runs, and tell now and then that it waits.
        """
        wait, told = _PATIENCE, ""
        while not self.ray.wait([began], timeout=wait)[0]:
            wait = _TURN
            free = self.ray.available_resources()
            why = (
                f"A worker waits for {asked['resources']['cpus']:g} CPU and "
                f"{asked['resources']['gpus']:g} GPU; {free.get('CPU', 0):g} CPU and "
                f"{free.get('GPU', 0):g} GPU of the cluster are free"
            )
            if why != told:
                told = why
                self.tell(number, "queued", why=f"{why}.")


def options_of(resources: dict[str, Any]) -> dict[str, Any]:
    """
    Return the options of an actor that needs *resources*.
    """
    options: dict[str, Any] = {
        "num_cpus": resources["cpus"],
        "num_gpus": resources["gpus"],
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": 2,
    }
    if resources.get("memory"):
        options["memory"] = resources["memory"]
    if resources.get("custom"):
        options["resources"] = resources["custom"]
    if resources.get("labels"):
        options["label_selector"] = resources["labels"]
    return options


def _load(name: str) -> Any:
    """
    Return the module *name* beside this one, whose classes travel to nodes that lack it.
    """
    import importlib.util

    import ray

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"fal_ray_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    ray.cloudpickle.register_pickle_by_value(module)
    return module


def _scales() -> bool:
    return os.environ.get("FAL_RAY_SCALES") == "1"


def _sentence(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:2000]


def main() -> None:
    """
    Take requests until the standard input ends.
    """
    # What Ray prints is not for the stream.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    told = json.loads(sys.stdin.readline())
    try:
        import ray

        began = time.monotonic()
        ray.init(
            address=told["address"],
            namespace=told["namespace"],
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False if told["address"] in (None, "local") else None,
        )
        launcher = Launcher(output)
    except ImportError:
        facts = {"problem": "no ray", "python": sys.executable}
    except BaseException as error:
        facts = {"problem": f"{type(error).__name__}: {_sentence(error)}"}
    else:
        facts = {"version": ray.__version__, "took": time.monotonic() - began}
    output.write(json.dumps(facts).encode() + b"\n")
    output.flush()
    if "problem" in facts:
        os._exit(1)
    for line in sys.stdin:
        launcher.take(json.loads(line))
    # Ray ends the actors once this process is gone.
    os._exit(0)


if __name__ == "__main__":
    main()
