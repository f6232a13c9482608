"""Fixtures of the tests of the control plane."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core_worker.serving import networks
from fal_server.state.data_directories import DataDirectory
from fal_server.state.databases import Database

HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


#: The others import it, so that it comes first.
polling = _load("polling")
programs = _load("programs")
planes = _load("planes")
holding = _load("holding")
served = _load("served")
_load("api_connections")
_load("raw_agents")
_load("bare_runners")
_load("queued")
kept_lines = _load("kept_lines")
_load("releases")
_load("process_memory")
_load("floods")
_load("grpc_listening")
browsers = _load("browsers")
engines = _load("engines")
postgresql_servers = _load("postgresql_servers")
replica_groups = _load("replica_groups")
s3_servers = _load("s3_servers")
if importlib.util.find_spec("fal_host_ray") is not None:
    _load("ray_nodes")

Plane = planes.Plane


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    """A PostgreSQL that runs for all tests of this process."""
    reason = postgresql_servers.missing()
    if reason is not None:
        pytest.skip(reason)
    server = postgresql_servers.PostgreSQL()
    yield server
    server.close()


@pytest.fixture
def postgresql_url(postgresql: Any) -> Iterator[str]:
    """The URL of a database of PostgreSQL with all tables of the server, and nothing in them."""
    url: str = postgresql.make_database()
    yield url
    postgresql.drop(url)


@pytest.fixture(scope="session")
def s3_of_session() -> Iterator[Any]:
    reason = s3_servers.missing()
    if reason is not None:
        pytest.skip(reason)
    server = s3_servers.S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_of_session: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server of S3, which this process is told of."""
    import s3fs

    for name, value in s3_of_session.variables.items():
        monkeypatch.setenv(name, value)
    yield s3_of_session
    s3fs.S3FileSystem.clear_instance_cache()


#: The kinds of databases that keep the state of a server.
DATABASES = ("sqlite", "postgresql")


#: Where the tests are that run with a server on each kind with FAL_CORE_FAULTS=all.
SERVED = frozenset({"access", "gateways", "grpc", "http", "logs", "queue", "routing", "store"})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """
    Have the tests that need a database run on each kind: those of the stores always, and the
    others with FAL_CORE_FAULTS=all.
    """
    parts, is_sweep = metafunc.definition.path.parts, os.environ.get("FAL_CORE_FAULTS") == "all"
    if "database_url" in metafunc.fixturenames:
        always = {"state", "store", "logs"} & set(parts)
        kinds = DATABASES if always or is_sweep else DATABASES[:1]
        metafunc.parametrize("database_url", kinds, indirect=True)
    if is_sweep and "state_kind" in metafunc.fixturenames and SERVED & set(parts):
        metafunc.parametrize("state_kind", DATABASES, indirect=True, scope="module")


@pytest.fixture(scope="module")
def state_kind(request: pytest.FixtureRequest) -> Iterator[None]:
    """
    Have the servers of a module keep their state in a kind of database, each data directory
    in one of its own.
    """
    if getattr(request, "param", "sqlite") == "sqlite":
        yield
        return
    server, urls = request.getfixturevalue("postgresql"), {}

    def find(data: Path) -> str:
        if data not in urls:
            urls[data] = server.make_empty()
        found: str = urls[data]
        return found

    programs.find_database = find
    yield
    programs.find_database = None


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database for one test."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with all tables of the server, and nothing in them."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, state_kind: None) -> Iterator[Plane]:
    """A control plane that the tests of a module share; its runners end with the module."""
    running = Plane(tmp_path_factory.mktemp("plane"))
    yield running
    running.close()
    programs.end_runners(running.settings.data)


@pytest.fixture
def runner_id() -> str:
    """The id of a runner that the test has for itself."""
    return uuid.uuid4().hex


@pytest.fixture
def account(plane: Plane) -> str:
    """The id of the account of the owner."""
    with plane.client() as client:
        found: str = client.get("/users/current").json()["user_id"]
    return found


@pytest.fixture
def add_lines(plane: Plane, account: str, runner_id: str) -> Callable[..., None]:
    """Add lines of the runner to the log."""

    def add(*messages: str, **fields: Any) -> None:
        lines = kept_lines.make_lines(*messages, account=account, runner_id=runner_id, **fields)
        for line in lines:
            plane.plane.logs.add(line)
        plane.run(plane.plane.logs.flush())

    return add


@pytest.fixture(scope="module")
def holder(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """
    A `Holder` that deploys applications on the plane of the module; they hold their
    requests.
    """
    made = holding.Holder(plane, tmp_path_factory.mktemp("held"))
    yield made
    made.close()
    programs.end_runners(plane.settings.data)


@pytest.fixture(scope="session", name="holding")
def _holding() -> ModuleType:
    """The module of the applications that hold their requests."""
    return holding


@pytest.fixture(scope="session", name="programs")
def _programs() -> ModuleType:
    """The module of servers in processes of their own, and of the released clients."""
    return programs


@pytest.fixture(scope="session", name="planes")
def _planes() -> ModuleType:
    """The module of control planes in threads of their own."""
    return planes


@pytest.fixture(scope="session", name="served")
def _served() -> ModuleType:
    """The module of the application of the standard library alone."""
    return served


@pytest.fixture(scope="session")
def settle() -> Callable[..., None]:
    """The function that polls a condition until it holds."""
    wait: Callable[..., None] = polling.settle
    return wait


@pytest.fixture(scope="session")
def may_mount() -> bool:
    """Whether runners may mount directories."""
    tried = ["unshare", "--mount", "true"]
    return bool(shutil.which("unshare")) and not subprocess.run(tried).returncode


@pytest.fixture(scope="module")
def served_plane(tmp_path_factory: pytest.TempPathFactory, state_kind: None) -> Iterator[Any]:
    """A control plane and an application on it; its runners end with the module."""
    root = tmp_path_factory.mktemp("served")
    (root / "folder").mkdir()
    data = root / "data"
    standing = served.ServedPlane(
        root / "folder", lambda: Plane(data, webhook_networks=("127.0.0.2/32",))
    )
    yield standing
    standing.plane.close()
    programs.end_runners(data)


@pytest.fixture(scope="module")
def app(served_plane: Any) -> str:
    """The name of an application with one runner, which handles one request at a time."""
    served_plane.deploy("app")
    return "app"


@pytest.fixture
def held(
    served_plane: Any, app: str, request: pytest.FixtureRequest
) -> Iterator[tuple[str, str]]:
    """A request that occupies the runner, and the gate that ends it."""
    gate = f"gate of {request.node.name}"
    holder = served_plane.submit(f"{app}/hold", {"gate": gate})
    served_plane.begin(app, holder)
    yield holder, gate
    served_plane.open(gate)
    served_plane.finish(app, holder)


@pytest.fixture
def make_plane(tmp_path: Path, state_kind: None) -> Iterator[Callable[..., Plane]]:
    """
    Start control planes on one data directory; those that the test does not end, end after
    it.
    """
    started: list[Plane] = []

    def start(**settings: Any) -> Plane:
        started.append(Plane(tmp_path / "data", **settings))
        return started[-1]

    yield start
    for each in started:
        if not each._loop.is_closed():
            each.close()


@pytest.fixture(scope="session")
def launch_program() -> type[Any]:
    """The class that starts the program, for tests that end it themselves."""
    return programs.Program


@pytest.fixture(scope="module")
def make_standing() -> Iterator[Callable[..., Any]]:
    """
    Start servers in processes of their own, each with a directory for its applications;
    their runners end with the module.
    """
    started: list[Any] = []

    def start(root: Path, *arguments: str, variables: Any = None) -> Any:
        (root / "folder").mkdir()
        server = programs.Server(root / "data", *arguments, variables=variables)
        started.append(server)
        return served.ServedPlane(root / "folder", lambda: server)

    yield start
    for server in started:
        if server.program.process.poll() is None:
            server.close()
        programs.end_runners(server.data)


@pytest.fixture(scope="module")
def standing(
    make_standing: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A server in a process of its own, with an application to deploy on it."""
    return make_standing(tmp_path_factory.mktemp("standing"))


@pytest.fixture(scope="module")
def make_replicas(
    postgresql: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Any]]:
    """Start servers on one database of PostgreSQL; they and their runners end with the module."""
    started: list[Any] = []

    def start(count: int, *arguments: str, **options: Any) -> Any:
        root = tmp_path_factory.mktemp("replicas")
        url = postgresql.make_database()
        started.append(replica_groups.Replicas(root, url, count, *arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()
        postgresql.drop(each.url)


@pytest.fixture
def start_program(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start ``fal-core server start`` on a directory of the test."""
    started: list[Any] = []

    def start(*arguments: str, data: str = "data") -> Any:
        started.append(programs.Program(tmp_path / data, *arguments))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None or not each.process.stdout.closed:
            each.end(signal.SIGKILL)
        directory = DataDirectory(each.data)
        directory.drop_sockets()


@pytest.fixture(
    scope="session", params=["newest", pytest.param("1.79.1", marks=pytest.mark.faults)]
)
def clients(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The released clients, at the newest version and at the oldest that is supported."""
    return programs.share_clients(tmp_path_factory, request.param)


@pytest.fixture(scope="session")
def newest_clients(clients: Any) -> None:
    """Leave what a test does to the newest clients; with FAL_CORE_FAULTS=all the oldest do it too."""
    if clients.version != "newest" and os.environ.get("FAL_CORE_FAULTS") != "all":
        pytest.skip("The oldest clients do this with FAL_CORE_FAULTS=all.")


@pytest.fixture(scope="module")
def make_applied(
    tmp_path_factory: pytest.TempPathFactory, launch_program: Any, clients: Any
) -> Iterator[Callable[..., Any]]:
    """Start servers for the released clients; they and their runners end with the module."""
    started: list[Any] = []

    def start(*options: str, machines: Sequence[str] = ("local",)) -> Any:
        def launch(data: Path, *arguments: str) -> Any:
            return launch_program(data, *arguments, *options)

        data = tmp_path_factory.mktemp("applied") / "data"
        started.append((programs.Applied(data, launch, clients), machines))
        return started[-1][0]

    yield start
    for server, machines in started:
        server.program.end()
        programs.end_runners(server.data, machines=machines)


@pytest.fixture(scope="module")
def applied(make_applied: Callable[..., Any]) -> Any:
    """A server for the released clients."""
    return make_applied()


@pytest.fixture(scope="session")
def run_program() -> Callable[..., str]:
    """The function that runs a program of this framework, and returns all that it prints."""

    def run(file: Path, variables: Mapping[str, str]) -> str:
        done = subprocess.run(
            [sys.executable, str(file)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=2 * polling.PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The engine of the servers of a module, with an image that stands in for Python's."""
    with engines.engine_for_servers(tmp_path_factory) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, which ends with the module."""
    with browsers.running_browser() as running:
        yield running


@pytest.fixture
def find_faults() -> Callable[[Any], list[str]]:
    """
    The function that returns what is wrong with a page for those who use it without eyes or
    without a mouse.
    """
    found: Callable[[Any], list[str]] = browsers.find_faults
    return found


@pytest.fixture
def without_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine where ``pasta`` is not installed."""
    programs_of_it = tmp_path / "programs"
    programs_of_it.mkdir()
    for name in ("sh", "uv", "python3"):
        found = shutil.which(name)
        if found:
            (programs_of_it / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs_of_it))
    networks.missing.cache_clear()
    yield
    monkeypatch.undo()
    networks.missing.cache_clear()
