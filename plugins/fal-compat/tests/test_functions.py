"""Functions written for fal, and names that do not run anything."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pydantic
import pytest
from pydantic import BaseModel
from starlette.websockets import WebSocket
from websockets.sync.server import ServerConnection, serve

import fal_compat as fal
from fal_compat.billing import check_declaration
from fal_compat.toolkit import DownloadError, download_file
from fal_core.errors import OptionError

#: The messages around an answer, and around another one.
START, END = '{"type": "start", "request_id": "1"}', '{"type": "end", "request_id": "2"}'


@fal.function("virtualenv", machine_type="XS")
def fetch(url: str) -> tuple[str, str]:
    path = download_file(url, "/data/words")
    return path.read_text(), type(fal.toolkit).__name__


class Prompt(BaseModel):
    text: str


@fal.function("virtualenv", machine_type="XS")
def ask(prompt: Prompt) -> Prompt:
    return Prompt(text=prompt.text.upper())


def test_function_downloads_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    A function runs in an environment without this package, and uses its toolkit there; its
    errors arrive as themselves.
    """
    monkeypatch.setenv("FAL_CORE_DATA", str(tmp_path))
    assert fetch("data:,hello") == ("hello", "module")
    assert len([*(tmp_path / "words").iterdir()]) == 1
    with pytest.raises(DownloadError, match="cannot be read"):
        fetch("data:nothing")
    assert fetch.on(fal.local)("data:,there")[0] == "there"
    # A model travels there and back, as pydantic is there too.
    assert ask(Prompt(text="a")) == Prompt(text="A")
    assert fal.isolated is fal.function


def test_function_is_called_again():
    """
    A function that fails is called again, as often as it may be and for what it should be;
    the last error is the caller's.
    """
    from fal_compat.toolkit.utils.retry import retry

    calls: list[int] = []

    def fail(until: int) -> int:
        calls.append(1)
        if len(calls) < until:
            raise LookupError(f"call {len(calls)}")
        return len(calls)

    async def fail_later(until: int) -> int:
        return fail(until)

    soon = retry(base_delay=0, jitter=True)
    assert soon(fail)(3) == 3
    calls.clear()
    assert asyncio.run(soon(fail_later)(3)) == 3
    for wrapped, last in ((soon(fail), 3), (retry(max_retries=0)(fail), 1)):
        calls.clear()
        with pytest.raises(LookupError, match=f"call {last}"):
            wrapped(9)
    calls.clear()
    picky = retry(should_retry=lambda error: isinstance(error, ValueError))
    with pytest.raises(LookupError, match="call 1"):
        asyncio.run(picky(fail_later)(2))


def test_import_is_light():
    """Importing this package imports neither a web framework nor gRPC."""
    program = (
        "import sys, fal_compat as fal; fal.function, fal.toolkit.download_file\n"
        "print(sorted({'fastapi', 'pydantic', 'grpc', 'httpx'} & {*sys.modules}))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr


class Guarded(fal.App, kind="current"):
    """An application of constructs that programs for the SDK are made of."""

    retry_config = fal.sdk.RetryConfig(server_error=3, timeout=-1)

    @fal.endpoint("/file")
    def file(self, input: fal.toolkit.File) -> fal.toolkit.Image:
        return fal.toolkit.Image._from_url(input.url)

    @fal.endpoint("/live", is_websocket=True)
    async def live(self, websocket: WebSocket) -> None:
        # It is refused before it was accepted.
        await websocket.close(1008)


def test_constructs_of_programs():
    """
    A file is made of a URL, a websocket is refused before it was accepted, and what is
    retried is declared by a value.
    """
    retried = {"server_error": {"retries": 3}, "timeout": {"retries": 0}}
    assert Guarded.host_kwargs["retry_config"] == retried
    with pytest.raises(ValueError, match="what is retried"):
        fal.sdk.RetryConfig()
    with fal.app.AppClient.connect(Guarded, startup_timeout=120) as client:
        assert client.file(fal.toolkit.File(url="data:,a")).url == "data:,a"
        with pytest.raises(fal.app.AppClientError) as caught, client["live"]():
            pass
        assert caught.value.status_code == 403


class Declared(
    fal.App,
    name="declared",
    keep_alive=60,
    min_concurrency=0,
    max_concurrency=2,
    max_multiplexing=3,
    startup_timeout=300,
    request_timeout=30,
):
    machine_type = ["XS", "S"]
    requirements = ["numpy"]
    local_python_modules = ["textwrap"]
    secrets = ["TOKEN"]

    @fal.endpoint("/")
    def nothing(self) -> None: ...


def test_declarations_of_applications():
    """What a class declares, by keywords and by attributes, is what its function asks for."""
    options = Declared.to_function().options
    asked = {
        **{"keep_alive": 60, "min_concurrency": 0, "max_concurrency": 2},
        **{"max_multiplexing": 3, "startup_timeout": 300, "request_timeout": 30},
        **{"machine_type": ["XS", "S"], "secrets": ["TOKEN"]},
    }
    assert {name: options.host.get(name) for name in asked} == asked
    assert Declared.app_name == "declared"
    assert Declared.local_python_modules[0] == "textwrap"
    assert options.environment["requirements"] == ["numpy"]
    config = fal.sdk.ApplicationHealthCheckConfig(
        path="/health",
        start_period_seconds=1,
        timeout_seconds=2,
        failure_threshold=3,
        call_regularly=True,
    )
    assert (config.path, config.failure_threshold, config.method) == ("/health", 3, None)
    file = fal.toolkit.File._from_url("https://host/a.txt")
    assert (file.url, file.file_size) == ("https://host/a.txt", None)


class Bill:
    """Declares the bill of an endpoint."""

    def declaration(self) -> dict[str, object]:
        return {"version": 1, "schema_id": "images", "app": {"type": "object"}}


class Billed(fal.App):
    @fal.endpoint("/", billing=Bill(), health_check=fal.HealthCheck(timeout_seconds=3))
    def make(self) -> int:
        return 1


def test_bills_and_health():
    """What an endpoint declares of its bill is published with the application, and is checked."""
    assert Billed.build_metadata()["billing_components"] == {"/": Bill().declaration()}
    config = Billed.get_health_check_config()
    assert config is not None
    assert (config.path, config.timeout_seconds, config.method) == ("/", 3, "POST")
    for wrong in (Bill, 3):
        with pytest.raises(TypeError, match="method 'declaration'"):
            fal.endpoint("/", billing=wrong)
    with pytest.raises(ValueError, match="websocket"):
        fal.endpoint("/", is_websocket=True, billing=Bill())
    good = Bill().declaration()
    for key, value in (("version", True), ("schema_id", ""), ("app", {}), ("more", 1)):
        with pytest.raises(ValueError, match="The bill of endpoint '/a' has to"):
            check_declaration("/a", {**good, key: value})
    assert fal.wrap_app(Billed).app_name == "billed"


class Word(BaseModel):
    text: str


class Echo(fal.App, kind="current"):
    @fal.endpoint("/twice")
    def twice(self, input: Word) -> Word:
        if not input.text:
            raise fal.exceptions.FieldException("text", "has to be there")
        return Word(text=input.text * 2)


def test_client_of_one_endpoint():
    """
    An endpoint is asked by its signature, and its result is of the type that it says; an
    error is one of clients.
    """
    info = Echo.spawn()
    try:
        info.wait(startup_timeout=120)
        signature = Echo.twice.route_signature  # type: ignore[attr-defined]  # marked
        client = fal.app.EndpointClient(info.url, Echo.twice, signature)
        assert client(Word(text="a")) == client({"text": "a"}) == Word(text="aa")
        with pytest.raises(fal.app.AppClientError) as caught:
            client(Word(text=""))
        assert caught.value.status_code == 422
    finally:
        info.cancel()


def test_container_without_an_image():
    """As with the SDK, the image may be left out: it is one with the Python that is asked for."""
    pytest.importorskip("fal_env_container", reason="fal-env-container is not installed")
    declare: Any = fal.function
    for options, version in (
        ({}, f"{sys.version_info.major}.{sys.version_info.minor}"),
        ({"python_version": "3.12", "image": None}, "3.12"),
    ):
        function = declare("container", **options)(fetch.raw_func)
        assert function.options.environment["image"] == f"python:{version}-slim"


def test_flags_of_pip_are_requirements(check_all: Callable[..., None]):
    """
    Requirements take the flags of pip that programs for the SDK write, in each way that pip
    takes them; another one is refused by its name.
    """
    pytest.importorskip("fal_env_virtualenv", reason="fal-env-virtualenv is not installed")
    url = "https://host/cu121"
    valued = ("--extra-index-url", "--index-url", "--find-links")

    def check(flags: tuple[str, ...]) -> None:
        class Flagged(fal.App):
            requirements: ClassVar[list[str]] = [*flags, "torch"]

            @fal.endpoint("/")
            def nothing(self) -> None: ...

        declared = Flagged.to_function().options.environment["requirements"]
        assert declared == [*flags, "torch"]
        fal.function(requirements=[*flags, "torch"])(fetch.raw_func)

    check_all(
        check,
        (
            *((flag, url) for flag in valued),
            *((f"{flag} {url}",) for flag in valued),
            *((f"{flag}={url}",) for flag in valued),
            *(("--pre",), ("--no-deps",), ("--pre", "--no-deps", valued[0], url)),
        ),
    )

    def refuse(row: tuple[str, str]) -> None:
        flag, told = row
        with pytest.raises(OptionError, match=told):
            fal.function(requirements=[flag, "torch"])(fetch.raw_func)

    check_all(
        refuse,
        (
            ("--no-cache-dir", "'--no-cache-dir' is a flag that has no meaning"),
            ("--trusted-host=host", "'--trusted-host=host' is a flag that has no meaning"),
            ("-r nowhere.txt", "nowhere.txt, but there is no such path"),
        ),
    )


def test_pydantic_is_in_each_environment():
    """
    The requirements of a function have pydantic of this process, as a layer where they are
    layered, unless they name it or a file that may; those of other kinds are left alone.
    """
    pytest.importorskip("fal_env_container", reason="fal-env-container is not installed")
    own = f"pydantic=={pydantic.VERSION}"
    declare: Any = fal.function
    for written, has in (
        (None, [own]),
        (["numpy", "pydantic-settings"], ["numpy", "pydantic-settings", own]),
        ([["numpy"], ["scipy"]], [["numpy"], ["scipy"], [own]]),
        (["--no-deps", "numpy"], [["--no-deps", "numpy"], [own]]),
        (["Pydantic[email] < 2.13"], ["Pydantic[email] < 2.13"]),
        ([["numpy"], ["pydantic"]], [["numpy"], ["pydantic"]]),
    ):
        for kind in ("virtualenv", "container"):
            function = declare(kind, requirements=written)(fetch.raw_func)
            assert function.options.environment["requirements"] == has
    assert "requirements" not in declare("current")(fetch.raw_func).options.environment
    with pytest.raises(OptionError, match="requirements"):
        declare(requirements="numpy")(fetch.raw_func)


def test_files_of_an_image(tmp_path: Path):
    """What a Dockerfile copies of its context, and what is left out of it."""
    text = "FROM a AS b\nCOPY one \\\n  two /there/\nCOPY --from=b c d\nADD https://e/f g\n"
    parsed = fal.container.DockerfileParser(text)
    assert parsed.parse_copy_add_sources() == ["one", "two"]
    assert "COPY one  two /there/" in parsed.normalized_content
    make = fal.container.DockerignoreHandler
    assert "node_modules" in make(tmp_path).get_patterns()
    (tmp_path / ".dockerignore").write_text("# no\n\n *.log \n")
    assert make(tmp_path).get_patterns() == ["*.log"]
    assert make(tmp_path, ["a"]).get_patterns() == ["a"]
    [expression] = make(dockerignore_path=tmp_path / ".dockerignore").get_regex_patterns()
    assert re.match(expression, "deep/out.log")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        make(dockerignore_path=tmp_path / "none").get_patterns()


def test_names_of_fal(monkeypatch: pytest.MonkeyPatch):
    """Names that programs read are there; one that is not is an error as of any module."""
    assert fal.version_tuple == tuple(int(each) for each in fal.__version__.split("."))
    assert fal.serverless is fal.cloud
    assert "toolkit" in dir(fal)
    for module in (fal, fal.toolkit, fal.app, fal.exceptions, fal.api):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            module.nothing  # noqa: B018  # it raises
    key = fal.FalServerlessKeyCredentials("id", "hidden")
    assert key.to_headers() == {"Authorization": "Key id:hidden"}
    assert "hidden" not in repr(key)
    found = fal.sdk.get_credentials(key="id:hidden")
    assert isinstance(found, type(key))
    assert found.to_headers() == key.to_headers()
    assert issubclass(fal.exceptions.FileTooLargeError, Exception)
    assert str(fal.exceptions.AppFileUploadException("gone", "a/b")) == "a/b: gone"


def test_requests_that_fail(monkeypatch: pytest.MonkeyPatch):
    """A request for an application that cannot be reached is an error of httpx."""
    monkeypatch.setenv("FAL_KEY", "id:hidden")
    monkeypatch.setenv("FAL_QUEUE_RUN_HOST", "127.0.0.1:1")
    with pytest.raises(httpx.ConnectError):
        fal.apps.submit("owner/app", {}, path="/path")
    handle = fal.apps.RequestHandle("owner/app/path/more", "request")
    assert handle.app_id == "owner/app"
    assert "hidden" not in repr(handle)


def test_realtime_is_a_module_and_a_decorator():
    """
    ``fal.realtime`` marks an endpoint before and after its module was imported, and messages
    are encoded as endpoints do it.
    """
    program = """
        import fal_compat as fal

        class First(fal.App):
            @fal.realtime("/first")
            def draw(self, input: dict) -> dict:
                return input

        from fal_compat.realtime import realtime, msgpack_decode_message, msgpack_encode_message

        class Second(First):
            @fal.realtime("/second", buffering=3)
            def paint(self, input: dict) -> dict:
                return input

            @realtime("/third")
            def write(self, input: dict) -> dict:
                return input

        print(sorted(Second.get_endpoints()))
        print(msgpack_decode_message(msgpack_encode_message({"a": b"1"})))
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert ended.stdout == "['/first', '/second', '/third']\n{'a': b'1'}\n", ended.stderr


def test_key_signs_requests_of_grpc(monkeypatch: pytest.MonkeyPatch):
    """A channel with a key sends it with each request."""
    grpc = pytest.importorskip("grpc")
    monkeypatch.setenv("ISOLATE_TEST_MODE", "1")
    asked = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            asked.append(dict(details.invocation_metadata))
            return grpc.unary_unary_rpc_method_handler(lambda request, _: request)

    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, handlers=[Handler()])
        port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
        server.start()
        key = fal.FalServerlessKeyCredentials("id", "hidden").to_grpc()
        with grpc.secure_channel(f"127.0.0.1:{port}", key) as channel:
            assert channel.unary_unary("/a/b")(b"1", timeout=60) == b"1"
        server.stop(None).wait()
    assert (asked[0]["auth-key-id"], asked[0]["auth-key"]) == ("id", "hidden")


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (["words"], "begins with a message 'start', not with 'words'"),
        ([END], "begins with"),
        ([START, "7", b"1", END], "ends with its message 'end'"),
        ([START, START], "ends with its message 'end'"),
    ],
)
def test_wrong_answer_over_a_websocket(
    messages: list[str | bytes], said: str, monkeypatch: pytest.MonkeyPatch
):
    """What is no answer, or the end of another one, is an error."""
    monkeypatch.setenv("ISOLATE_TEST_MODE", "1")
    monkeypatch.setenv("FAL_KEY", "id:hidden")
    asked = []

    def answer(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append((connection.request.path, connection.request.headers["Authorization"]))
        for each in messages:
            connection.send(each)

    with serve(answer, "127.0.0.1", 0) as server, ThreadPoolExecutor(1) as threads:
        threads.submit(server.serve_forever)
        host = f"127.0.0.1:{server.socket.getsockname()[1]}"
        monkeypatch.setenv("FAL_WS_RUN_HOST", host)
        with (
            fal.apps.ws("owner-app", path="/path") as connection,
            pytest.raises(ValueError, match=said),
        ):
            connection.recv()
        server.shutdown()
    assert asked == [("/owner/app/path", "Key id:hidden")]
