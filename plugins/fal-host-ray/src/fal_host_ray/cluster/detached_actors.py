"""
Detached actors: work of the cluster that outlives the program that launched it.

This runs in a Python that has Ray, beside the launcher: it imports Ray and the standard
library alone.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import IO, Any

#: The namespace of all actors, and the name of the one that keeps the records.
NAMESPACE, RECORDS = "fal-core", "fal-core-records"

#: Seconds for which the record of work that has ended is kept.
_KEPT = 24 * 3600.0
#: Seconds that an actor may take to answer, and that all may take that are listed.
_PATIENCE = 3.0
#: Bytes of the errors of a supervisor that are kept.
_SAID = 4096

#: The first lines of a supervisor, which has what it imports in one folder.
_SUPERVISOR = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from fal_host_ray.detached.supervisors import main; main()"
)


class Records:
    """
    The actor that knows all detached work of the cluster, and keeps the journals of what has
    ended. There is one, on the head: what ends with the head has no use for it.
    """

    def __init__(self) -> None:
        import ray

        # It is started again where its process was lost, with the same id.
        own = ray.get_runtime_context().get_actor_id()
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(
            os.path.expanduser("~"), ".cache"
        )
        self.folder = os.path.join(cache, "fal-core", "ray", "records", own)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self.known: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, bytes] = {}
        self.codes: dict[str, bytes] = {}
        for path in glob.glob(os.path.join(glob.escape(self.folder), "*.json")):
            with open(path) as file:
                self.known[os.path.basename(path)[:-5]] = json.load(file)

    def has_code(self, digest: str) -> bool:
        return digest in self.codes

    def add_code(self, digest: str, code: bytes) -> None:
        self.codes[digest] = code

    def code(self, digest: str) -> bytes:
        return self.codes[digest]

    def add(self, reference: str, facts: dict[str, Any], call: bytes) -> None:
        """
        Record work that is about to be launched.
        """
        self._forget_old()
        self.calls[reference] = call
        self.known[reference] = {**facts, "launched": time.time()}
        self._write(reference)

    def take(self, reference: str) -> tuple[dict[str, Any], bytes]:
        """
        Return the facts of work, and its call.
        """
        return self.known[reference], self.calls[reference]

    def note(self, reference: str, **facts: Any) -> None:
        """
        Note what has become of work.
        """
        if reference in self.known and "closed" not in self.known[reference]:
            self.calls.pop(reference, None)
            self.known[reference] |= facts
            self._write(reference)

    def close(self, reference: str, status: dict[str, Any], journal: bytes) -> None:
        """
        Keep what is left of work that has ended, unless that was done before.
        """
        if reference not in self.known or "closed" in self.known[reference]:
            return
        with open(self._path(reference, "journal"), "wb") as file:
            file.write(journal)
        self.note(reference, status=status, closed=time.time())

    def find(self, reference: str) -> dict[str, Any] | None:
        return self.known.get(reference)

    def journal(self, reference: str) -> bytes:
        with open(self._path(reference, "journal"), "rb") as file:
            return file.read()

    def all(self) -> dict[str, dict[str, Any]]:
        return self.known

    def _path(self, reference: str, ending: str) -> str:
        return os.path.join(self.folder, f"{os.path.basename(reference)}.{ending}")

    def _write(self, reference: str) -> None:
        path = self._path(reference, "json")
        with open(f"{path}.new", "w") as file:
            json.dump(self.known[reference], file)
        os.replace(f"{path}.new", path)

    def _forget_old(self) -> None:
        before = time.time() - _KEPT
        for reference, facts in list(self.known.items()):
            if facts.get("closed", before) < before:
                del self.known[reference]
                for ending in ("json", "journal"):
                    if os.path.exists(self._path(reference, ending)):
                        os.unlink(self._path(reference, ending))


class Guard:
    """
    The actor of detached work: it holds the place in the cluster, and the supervisor of the
    work as its child.
    """

    def __init__(self, reference: str, unpack: Callable[[str, list[Any]], str]) -> None:
        self.reference = reference
        self.unpack = unpack
        self.directory = ""
        self.said = b""
        threading.Thread(target=self.run).start()

    def status(self) -> dict[str, Any]:
        """
        Return what the supervisor says of the work. Empty before it has started.
        """
        try:
            with open(os.path.join(self.directory, "status.json")) as file:
                return dict(json.load(file))
        except (OSError, ValueError):
            return {}

    def run(self) -> None:
        """
        Run the supervisor, and give what is left to the records.
        """
        import ray

        records = ray.get_actor(RECORDS, NAMESPACE)
        status: dict[str, Any] = {}
        journal = b""
        try:
            facts, call = ray.get(records.take.remote(self.reference))
            self.start(records, facts, call)
            status = self.status()
            with open(os.path.join(self.directory, "journal"), "rb") as file:
                journal = file.read()
        except Exception as error:
            status = {"ended": True, "end": "failed"}
            status["error"] = f"{type(error).__name__}: {error}"
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        if not status.get("ended"):
            # Some status was written before it was lost.
            said = self.said.decode(errors="replace").strip().rpartition("\n")[2]
            status["error"] = f"Its supervisor exited before it ended. {said}".strip()
        ray.get(records.close.remote(self.reference, status, journal))
        os._exit(0)

    def start(self, records: Any, facts: dict[str, Any], call: bytes) -> None:
        import ray

        folder = self.unpack(facts["digest"], [records.code.remote(facts["digest"])])
        address = ray.util.get_node_ip_address()
        variables = {
            k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))
        }
        supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _SUPERVISOR, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            start_new_session=True,
        )
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        assert supervisor.stderr is not None
        listening = threading.Thread(target=self._listen, args=(supervisor.stderr,))
        listening.start()
        told = {"address": address, "size": len(call), **facts["told"]}
        supervisor.stdin.write(json.dumps(told).encode() + b"\n" + call)
        supervisor.stdin.flush()
        answer = supervisor.stdout.readline()
        if answer:
            found = json.loads(answer)
            self.directory = found["directory"]
            at = {"address": address, "port": found["port"], "node": found["node"]}
            ray.get(records.note.remote(self.reference, **at))
        supervisor.wait()
        listening.join(1)
        if not answer:
            raise RuntimeError(self.said.decode(errors="replace").strip() or "It said nothing.")

    def _listen(self, output: IO[bytes]) -> None:
        for line in output:
            self.said = (self.said + line)[-_SAID:]


class DetachedActors:
    """
    What the launcher is asked of detached work.

    Arguments:
        unpack: Returns the folder of the code of a digest on a node.
    """

    def __init__(
        self,
        ray: Any,
        unpack: Callable[[str, list[Any]], str],
    ) -> None:
        self.ray = ray
        self.unpack = unpack
        self.lock = threading.Lock()
        self.kept: Any = None

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """
        Return the answer to one request.
        """
        answers = {"launch": self.launch, "find": self.find, "list": self.list, "end": self.end}
        return answers[asked["do"]](asked)

    def records(self) -> Any:
        """
        Return the actor that keeps the records, which is made where there is none.
        """
        with self.lock:
            if self.kept is None:
                options = {
                    "name": RECORDS,
                    "namespace": NAMESPACE,
                    "lifetime": "detached",
                    "get_if_exists": True,
                    "max_restarts": -1,
                    "max_task_retries": -1,
                    "num_cpus": 0,
                    "resources": {"node:__internal_head__": 0.001},
                }
                self.kept = self.ray.remote(Records).options(**options).remote()
            return self.kept

    def launch(self, asked: dict[str, Any]) -> dict[str, Any]:
        records, reference = self.records(), asked["reference"]
        if not self.ray.get(records.has_code.remote(asked["digest"])):
            with open(asked["archive"], "rb") as file:
                self.ray.get(records.add_code.remote(asked["digest"], file.read()))
        with open(asked["call"], "rb") as file:
            call = file.read()
        facts = {"digest": asked["digest"], "told": asked["told"]}
        self.ray.get(records.add.remote(reference, facts, call))
        options = {
            **_options_of(asked["resources"]),
            "name": _name_of(reference),
            "namespace": NAMESPACE,
            "lifetime": "detached",
        }
        self.ray.remote(Guard).options(**options).remote(reference, self.unpack)
        return {"found": "launched"}

    def find(self, asked: dict[str, Any]) -> dict[str, Any]:
        """
        Return where work is followed, or what has become of it.

        ``found`` is ``nothing``, ``queued``, ``at``, ``ended``, ``lost`` with ``why``, or
        ``silent`` where the actor of the work does not answer.
        """
        records, reference = self.records(), asked["reference"]
        facts = self.ray.get(records.find.remote(reference))
        if facts is None:
            return {"found": "nothing"}
        if "closed" in facts:
            return self._ended(records, reference, facts)
        node = facts.get("node", "")
        if not node or asked.get("doubt"):
            try:
                guard = self.ray.get_actor(_name_of(reference), NAMESPACE)
                self.ray.get(guard.status.remote(), timeout=_PATIENCE if node else 0)
            except self.ray.exceptions.GetTimeoutError:
                return {"found": "silent" if node else "queued", "node": node}
            except (ValueError, self.ray.exceptions.RayActorError) as error:
                facts = self.ray.get(records.find.remote(reference)) or facts
                if "closed" in facts:
                    return self._ended(records, reference, facts)
                why = " ".join(str(error).split())[:500]
                status = {"error": f"WorkerLost: {why}"}
                self.ray.get(records.close.remote(reference, status, b""))
                return {"found": "lost", "node": node, "why": why}
            if not node:
                return {"found": "queued", "node": ""}
        return {
            "found": "at",
            **{name: facts[name] for name in ("address", "port", "node", "told")},
        }

    def _ended(self, records: Any, reference: str, facts: dict[str, Any]) -> dict[str, Any]:
        handle, path = tempfile.mkstemp(prefix="fal-core-ray-")
        with open(handle, "wb") as file:
            file.write(self.ray.get(records.journal.remote(reference)))
        found = {"found": "ended", "journal": path, "node": facts.get("node", "")}
        return {**found, "why": facts["status"].get("error", "")}

    def list(self, asked: dict[str, Any]) -> dict[str, Any]:
        """
        Return the status of all work.
        """
        known = self.ray.get(self.records().all.remote())
        asking: dict[Any, str] = {}
        for reference, facts in known.items():
            if "closed" not in facts:
                try:
                    guard = self.ray.get_actor(_name_of(reference), NAMESPACE)
                except ValueError:
                    facts["closed"] = time.time()
                else:
                    asking[guard.status.remote()] = reference
        told: dict[str, Any] = {}
        if asking:
            done, _ = self.ray.wait(list(asking), num_returns=len(asking), timeout=_PATIENCE)
            for each in done:
                try:
                    told[asking[each]] = self.ray.get(each)
                except self.ray.exceptions.RayActorError:
                    known[asking[each]]["closed"] = time.time()
        listed = {}
        for reference, facts in known.items():
            status = told.get(reference) or facts.get("status") or {}
            if "closed" in facts and not status.get("ended"):
                status = {"error": "Its node or its supervisor was lost.", **status}
                status |= {"ended": True, "end": "failed"}
            listed[reference] = {"launched": facts["launched"], "told": facts["told"], **status}
        return {"found": "list", "list": listed}

    def end(self, asked: dict[str, Any]) -> dict[str, Any]:
        """
        End the actor of work, and its processes with it.
        """
        records, reference = self.records(), asked["reference"]
        status = {"ended": True, "end": "cancelled"}
        self.ray.get(records.close.remote(reference, status, b""))
        try:
            self.ray.kill(self.ray.get_actor(_name_of(reference), NAMESPACE))
        except ValueError:
            pass
        return {"found": "ended"}


def _options_of(resources: dict[str, Any]) -> dict[str, Any]:
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


def _name_of(reference: str) -> str:
    return f"fal-core-{reference}"
