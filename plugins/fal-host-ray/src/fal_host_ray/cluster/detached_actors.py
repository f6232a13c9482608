"""
Detached actors: work of the cluster that outlives the program that launched it.

This runs in a Python that has Ray, beside the launcher: it imports Ray and the standard
library alone.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from typing import IO, Any

#: The namespace of all actors, and the name of the one that keeps the records.
NAMESPACE, RECORDS = "fal-core", "fal-core-records"

#: Seconds that an actor may take to answer, and that all may take that are listed.
_PATIENCE = 3.0
#: Bytes of the errors of a supervisor that are kept.
_SAID = 4096


class Guard:
    """
    The actor of detached work: it holds the place in the cluster, and the supervisor of the
    work as its child.
    """

    def __init__(
        self,
        reference: str,
        records: Any,
        starting: tuple[Callable[..., Any], Callable[..., None]],
        arguments: list[str],
    ) -> None:
        self.reference = reference
        self.records = records
        self.open_program, self.hand_over = starting
        self.arguments = arguments
        self.directory = ""
        self.said = b""
        self.end: dict[str, Any] | None = None
        threading.Thread(target=self.run).start()

    def status(self) -> dict[str, Any]:
        """Return what the supervisor says of the work. Empty before it has started."""
        if self.end is not None:
            return self.end
        try:
            with open(os.path.join(self.directory, "status.json")) as file:
                return dict(json.load(file))
        except (OSError, ValueError):
            return {}

    def run(self) -> None:
        """Run the supervisor, and give what is left to the records."""
        import ray

        records = self.records
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
        if not status.get("ended"):
            # Some status was written before it was lost.
            said = self.said.decode(errors="replace").strip().rpartition("\n")[2]
            status |= {"ended": True, "end": "failed"}
            status["error"] = f"Its supervisor exited before it ended. {said}".strip()
        self.end = status
        ray.get(records.close.remote(self.reference, status, journal))
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        os._exit(0)

    def start(self, records: Any, facts: dict[str, Any], call: bytes) -> None:
        import ray

        address = ray.util.get_node_ip_address()
        supervisor = self.open_program(self.arguments)
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        assert supervisor.stderr is not None
        listening = threading.Thread(target=self._listen, args=(supervisor.stderr,))
        listening.start()
        told = {"address": address, "size": len(call), **facts["told"]}
        self.hand_over(supervisor, told, [records.code.remote(facts["digest"])])
        supervisor.stdin.write(call)
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
        record_class: The class of the actor that keeps the records.

        starting: Starts a program on a node, and gives it its code.

        arguments: Those of the program.
    """

    def __init__(
        self,
        ray: Any,
        record_class: type[Any],
        starting: tuple[Callable[..., Any], Callable[..., None]],
        arguments: list[str],
    ) -> None:
        self.ray = ray
        self.record_class = record_class
        self.starting = starting
        self.arguments = arguments
        self.lock = threading.Lock()
        self.kept: Any = None

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request."""
        answers = {
            "launch": self.launch,
            "find": self.find,
            "list": self.list,
            "end": self.end,
            "count": self.count,
        }
        return answers[asked["do"]](asked)

    def records(self) -> Any:
        """Return the actor that keeps the records, which is made where there is none."""
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
                self.kept = self.ray.remote(self.record_class).options(**options).remote()
            return self.kept

    def launch(self, asked: dict[str, Any]) -> dict[str, Any]:
        records, reference = self.records(), asked["reference"]
        if not self.ray.get(records.has_code.remote(asked["digest"])):
            with open(asked["archive"], "rb") as file:
                self.ray.get(records.add_code.remote(asked["digest"], file.read()))
        with open(asked["call"], "rb") as file:
            call = file.read()
        choice = asked["choice"]
        told = {**asked["told"], "machine": asked["machines"][choice]}
        facts = {"digest": asked["digest"], "told": told}
        self.ray.get(records.add.remote(reference, facts, call))
        options = {
            **_options_of(asked["choices"][choice]),
            "name": _name_of(reference),
            "namespace": NAMESPACE,
            "lifetime": "detached",
        }
        guard = self.ray.remote(Guard).options(**options)
        guard.remote(reference, records, self.starting, self.arguments)
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
        """Return the status of all work."""
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

    def count(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return what the nodes have, and what of all of them is free."""
        nodes = [
            {"resources": node["Resources"], "labels": node.get("Labels") or {}}
            for node in self.ray.nodes()
            if node["Alive"]
        ]
        return {"found": "nodes", "nodes": nodes, "free": self.ray.available_resources()}

    def end(self, asked: dict[str, Any]) -> dict[str, Any]:
        """End the actor of work, and its processes with it."""
        records, reference = self.records(), asked["reference"]
        status = {"ended": True, "end": "cancelled"}
        self.ray.get(records.close.remote(reference, status, b""))
        try:
            self.ray.kill(self.ray.get_actor(_name_of(reference), NAMESPACE))
        except ValueError:
            pass
        return {"found": "ended"}


def _options_of(resources: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an actor that needs *resources*."""
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
