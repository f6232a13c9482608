"""
The launcher: a program that speaks to Ray, and to the process that started it by lines.

It runs in a Python that has Ray, where nothing else of this package need be installed: it
imports Ray and the standard library alone, and loads modules beside it by their files. It
reads requests from its standard input, one JSON object a line, and writes events to its
standard output. All that it has started ends with it, as Ray ends the actors of a program
that is gone.

A request is ``{"id": …, "start": {…}}``, ``{"id": …, "end": true}`` or, of detached work,
``{"id": …, "detached": {…}}``, which gets one event, ``answer``. The events of a
start are ``queued`` with ``why``, ``up`` with ``address``, ``port`` and ``node``, ``refused``
with ``why``, and ``lost`` with ``why``. ``closed`` with ``why`` ends any request: the head of
the cluster is away, which Ray itself waits a minute for.

The place of a worker is a placement group of one bundle, which starts no process. Its agent
is that of the node, in an actor which takes no resources. A worker with GPUs has an actor in
its place, and an agent of its own, since Ray tells devices to actors alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
from typing import IO, Any

#: Seconds that a place may take to be had until it is told that a worker waits.
_PATIENCE = 1.0
#: Seconds between two looks at what a worker waits for.
_TURN = 5.0
#: Seconds that a server of Ray's client has to take note of the end.
_FAREWELL = 5.0
#: The least of a processor that Ray can reserve: a place is never of nothing.
_LEAST = 0.0001


class Node:
    """
    The actor of a node, and the requests whose workers its agent has.

    Attributes:
        facts: Where the agent listens.
    """

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.facts: dict[str, Any] = {}
        self.ready = threading.Lock()
        self.numbers: set[int] = set()


class Bundle:
    """What a request has of the cluster."""

    def __init__(self, group: Any, token: str) -> None:
        self.group = group
        self.token = token
        self.node: Node | None = None


class RayDriver:
    """The requests that this process has, and what it has had for them."""

    def __init__(self, output: IO[bytes], told: dict[str, Any]) -> None:
        import ray
        from ray.util import scheduling_strategies

        self.ray = ray
        self.strategies = scheduling_strategies
        self.output = output
        self.arguments = told["arguments"]
        self.head = load("heads").Head(ray, told["address"], self.tell)
        self.writing = threading.Lock()
        self.lock = threading.Lock()
        # None for those that have no place yet.
        self.places: dict[int, Bundle | None] = {}
        self.nodes: dict[tuple[str, str], Node] = {}
        self.codes: dict[str, Any] = {}
        keepers = load_to_travel("keepers")
        self.keeper = ray.remote(keepers.Keeper)
        self.amounts = load_to_travel("amounts")
        records = load_to_travel("detached_records").Records
        self.detached = load_to_travel("detached_actors").DetachedActors(
            ray, records, (keepers.open_program, keepers.hand_over), self.arguments
        )

    def tell(self, number: int, event: str, **facts: Any) -> None:
        line = json.dumps({"id": number, "event": event, **facts}).encode() + b"\n"
        with self.writing:
            self.output.write(line)
            self.output.flush()

    def take(self, request: dict[str, Any]) -> None:
        number = request["id"]
        if "start" in request:
            with self.lock:
                self.places[number] = None
            work: Any = self.attend
            arguments: Any = (self.run, number, request["start"])
        elif "detached" in request:
            work, arguments = self.attend, (self.answer, number, request["detached"])
        else:
            work, arguments = self.end, (number,)
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def attend(self, work: Any, number: int, asked: dict[str, Any]) -> None:
        """Do *work* for a request, which is told if the head is away meanwhile."""
        with self.head.awaited(number):
            work(number, asked)
        if self.head.is_cut_off():
            # Another program may find the cluster again.
            os._exit(1)

    def answer(self, number: int, asked: dict[str, Any]) -> None:
        """Answer what is asked of detached work."""
        try:
            why = ""
            if "choices" in asked:
                asked["choice"], why = self.amounts.choose(asked["choices"], self.ray.nodes())
            found = {"found": "refused", "why": why} if why else self.detached.answer(asked)
        except Exception as error:
            found = {"found": "refused", "why": f"{type(error).__name__}: {_sentence(error)}"}
        self.tell(number, "answer", **found)

    def run(self, number: int, asked: dict[str, Any]) -> None:
        """Have a place for a worker, and tell its agent of it."""
        try:
            choice, problem = self.amounts.choose(asked["choices"], self.ray.nodes())
            if problem:
                self.tell(number, "refused", why=problem)
                self.end(number)
                return
            resources = asked["choices"][choice]
            place = self.make_place(number, resources, asked["agent"]["token"])
            if place is None or not self.await_place(number, place, resources):
                return
            node = self.find_node(place, asked, resources["gpus"])
            if "why" in node.facts:
                self.tell(number, "refused", why=node.facts["why"])
                self.end(number)
                return
            with self.lock:
                if self.places.get(number) is not place:
                    return
                node.numbers.add(number)
                place.node = node
            self.ray.get(node.actor.take.remote({**asked["agent"], "choice": choice}))
            self.tell(number, "up", **node.facts)
        except self.ray.exceptions.RayActorError as error:
            self.tell(number, "lost", why=_sentence(error))
            self.end(number)
        except Exception as error:
            self.tell(number, "refused", why=f"{type(error).__name__}: {_sentence(error)}")
            self.end(number)

    def end(self, number: int) -> None:
        """Give the place of a request back, and end its worker if it has one."""
        with self.lock:
            place = self.places.pop(number, None)
            if place is None:
                return
            node = place.node
            if node is not None:
                node.numbers.discard(number)
        if node is not None:
            node.actor.take.remote({"end": place.token})
        # It ends an actor in the place too.
        self.ray.util.remove_placement_group(place.group)

    def make_place(self, number: int, resources: dict[str, Any], token: str) -> Bundle | None:
        """Ask Ray for a place; None if it is not wanted any more."""
        bundle = self.amounts.amounts_of(resources)
        more = {}
        if resources.get("labels"):
            more["bundle_label_selector"] = [resources["labels"]]
        with self.lock:
            if number not in self.places:
                return None
            group = self.ray.util.placement_group([bundle or {"CPU": _LEAST}], **more)
            place = self.places[number] = Bundle(group, token)
        return place

    def await_place(self, number: int, place: Bundle, resources: dict[str, Any]) -> bool:
        """
        Wait until Ray has the place, and tell now and then that a worker waits. It returns
        False once the worker is not wanted any more.
        """
        wait, told = _PATIENCE, ""
        while not place.group.wait(wait):
            if self.places.get(number) is not place:
                return False
            wait = _TURN
            free = self.ray.available_resources()
            wanted = self.amounts.amounts_of(resources)
            why = ", ".join(
                f"{amount:g} {name} of which {free.get(name, 0):g} are free in the cluster"
                for name, amount in wanted.items()
            )
            if why != told:
                told = why
                self.tell(number, "queued", why=f"A worker waits for {why}.")
        return self.places.get(number) is place

    def find_node(self, place: Bundle, asked: dict[str, Any], gpus: float) -> Node:
        """Return the node that *place* is on, whose agent has been started."""
        found = self.ray.util.placement_group_table(place.group)["bundles_to_node_id"]
        [name] = found.values()
        digest = asked["digest"]
        if gpus:
            strategy = self.strategies.PlacementGroupSchedulingStrategy(place.group, 0)
            node = self.make_node(strategy, gpus)
            key = (name, asked["agent"]["token"])
        else:
            key = (name, digest)
            with self.lock:
                node = self.nodes.get(key) or self.make_node(
                    self.strategies.NodeAffinitySchedulingStrategy(name, soft=False), 0
                )
                self.nodes[key] = node
        with node.ready:
            if not node.facts:
                code = self.put_code(digest, asked["archive"])
                beginning = node.actor.begin.remote(self.arguments, asked["told"], [code])
                try:
                    node.facts = self.ray.get(beginning)
                except BaseException:
                    self.drop(key, node)
                    raise
                if "why" in node.facts:
                    self.drop(key, node)
                else:
                    threading.Thread(target=self.watch, args=(key, node), daemon=True).start()
        return node

    def make_node(self, strategy: Any, gpus: float) -> Node:
        options = self.keeper.options(
            num_cpus=0,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
            # One of them waits for the agent.
            max_concurrency=16,
            scheduling_strategy=strategy,
        )
        return Node(options.remote())

    def drop(self, key: tuple[str, str], node: Node) -> None:
        with self.lock:
            if self.nodes.get(key) is node:
                del self.nodes[key]

    def watch(self, key: tuple[str, str], node: Node) -> None:
        """Wait until the agent of a node is gone, and tell it those who have workers there."""
        try:
            why = self.ray.get(node.actor.wait.remote())
        except Exception as error:
            why = _sentence(error)
        self.drop(key, node)
        with self.lock:
            numbers = list(node.numbers)
        for number in numbers:
            self.tell(number, "lost", why=why)

    def put_code(self, digest: str, archive: str) -> Any:
        """Return a reference to the code of *digest*, which nodes that lack it fetch."""
        with self.lock:
            if digest not in self.codes:
                with open(archive, "rb") as file:
                    self.codes[digest] = self.ray.put(file.read())
            return self.codes[digest]


def load(name: str) -> Any:
    """Return the module *name* beside this one."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"fal_ray_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def load_to_travel(name: str) -> Any:
    """Return the module *name* beside this one, whose classes travel to nodes that lack it."""
    import ray

    module = load(name)
    ray.cloudpickle.register_pickle_by_value(module)
    return module


def _sentence(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:2000]


def main() -> None:
    """Take requests until the standard input ends."""
    # What Ray prints is not for the stream.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    told = json.loads(sys.stdin.readline())
    facts: dict[str, Any] = {}
    try:
        # To import it takes longer than both.
        if importlib.util.find_spec("ray") is None:
            raise ImportError
        absence = load("heads").absence(told["address"])
        if absence:
            raise ConnectionError(absence)
        import ray

        ray.init(
            address=told["address"],
            namespace=told["namespace"],
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False if told["address"] in (None, "local") else None,
        )
        launcher = RayDriver(output, told)
    except ImportError:
        facts = {"problem": "no ray", "python": sys.executable}
    except BaseException as error:
        facts = {"problem": _sentence(error) or type(error).__name__}
    else:
        facts = {"version": ray.__version__}
    output.write(json.dumps(facts).encode() + b"\n")
    output.flush()
    if "problem" in facts:
        os._exit(1)
    for line in sys.stdin:
        launcher.take(json.loads(line))
    # Ray ends the actors once this process is gone. A server of its client waits for it to
    # come back, unless it is told.
    if str(told["address"]).startswith("ray://"):
        threading.Timer(_FAREWELL, os._exit, (0,)).start()
        ray.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
