"""
Deployments: what is uploaded and asked, and what is told of it.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from fal_core import function
from fal_core.environments import CurrentEnvironment
from fal_core.errors import FalServerlessError, OptionError
from fal_core.events import Log
from fal_core.options import Gateway, HostOptions
from fal_host_serverless import (
    FalServerlessHost,
    SyncServerlessClient,
    distributions,
    files,
    preparations,
    trees,
)
from fal_host_serverless import deploy as deploying
from fal_host_serverless.files import SIZE_LIMIT, USUALLY_IGNORED, LocalFile, Selection
from fal_host_serverless.rest import RestClient
from fal_host_serverless.uploads import PART_SIZE, send_files

APPLICATION = """
from fal_core import function
from fal_serve import App, endpoint


class Search(App, keep_alive=120, max_concurrency=4, app_files=["data"]):
    app_auth = "shared"

    @endpoint("/find")
    def find(self, word: str) -> str:
        return word

    @endpoint("/")
    def all(self) -> list[str]:
        return []


@function("virtualenv", serve=True)
def double(number: int) -> int:
    return 2 * number
"""

PROJECT = """
[tool.fal.apps.search]
ref = "searching.py::Search"
auth = "public"
deployment_strategy = "recreate"
keep_alive = 30

[tool.fal.apps.double]
ref = "searching.py::double"
no_scale = true
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """
    A project of two applications, as the working directory.
    """
    (tmp_path / "searching.py").write_text(APPLICATION)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "words.txt").write_text("one two")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("searching", None)


@pytest.fixture
def asking(recorder: Any, rest: Any) -> SyncServerlessClient:
    """
    A client of the recorders.
    """
    return SyncServerlessClient(host=recorder.address)


def test_application_of_a_file_is_deployed(
    asking: SyncServerlessClient, recorder: Any, rest: Any, project: Path
):
    """
    Its environment is built, its files are uploaded, and it is registered.
    """
    result = asking.deploy("searching.py::Search", environment_name="staging")
    assert [name for name, _ in recorder.asked] == ["BuildEnvironment", "RegisterApplication"]
    request = recorder.last("RegisterApplication")
    assert request.application_name == "search--staging"
    assert request.environment_name == "staging"
    assert request.auth_mode == 2
    assert request.deployment_strategy == 1
    assert not request.scale
    assert request.HasField("build_environment")
    assert not request.build_environment
    assert request.machine_requirements.keep_alive == 120
    assert request.machine_requirements.exposed_port == 8080
    assert request.machine_requirements.metrics_port == 9090
    assert request.source_code == APPLICATION
    assert "/find" in MessageToDict(request.metadata)["openapi"]["paths"]
    (file,) = request.files
    assert file.relative_path == "data/words.txt"
    assert rest.files[file.hash] == b"one two"
    assert result == deploying.DeploymentResult(
        revision="rev-1",
        app_name="search",
        urls={
            "playground": {
                "/": "https://fal.test/models/me/app/",
                "/find": "https://fal.test/models/me/app/find",
            },
            "sync": {
                "/": "https://run.fal.test/me/app/",
                "/find": "https://run.fal.test/me/app/find",
            },
            "async": {
                "/": "https://queue.fal.test/me/app/",
                "/find": "https://queue.fal.test/me/app/find",
            },
        },
        log_url="https://fal.test/logs/rev-1",
        auth_mode="shared",
    )


def test_function_of_a_file_is_deployed(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    A served function is an application of one endpoint, private unless it says else.
    """
    result = asking.deploy(
        "searching.py::double", app_name="twice", strategy="recreate", reset_scale=True
    )
    request = recorder.last("RegisterApplication")
    assert request.application_name == "twice"
    assert not request.HasField("auth_mode")
    assert request.deployment_strategy == 0
    assert request.scale
    assert "/" in MessageToDict(request.metadata)["openapi"]["paths"]
    assert result.auth_mode == "private"


def test_deployment_tells_who_may_reach_it_as_it_is(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    Where a deployment says nothing of it, it stays as it is, and that is told.
    """
    assert asking.deploy("searching.py::double", app_name="app").auth_mode == "shared"
    assert not recorder.last("RegisterApplication").HasField("auth_mode")
    recorder.unanswered.add("ListAliases")
    result = asking.deploy("searching.py::double", app_name="app")
    assert result.auth_mode == "unchanged"
    assert result.revision == "rev-1"


def test_applications_of_a_project_are_deployed(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    A name is one of pyproject.toml, whose options go over those of the class.
    """
    (project / "pyproject.toml").write_text(PROJECT)
    asking.deploy("search")
    request = recorder.last("RegisterApplication")
    assert (request.auth_mode, request.deployment_strategy) == (1, 0)
    assert request.machine_requirements.keep_alive == 30
    asking.deploy("double")
    assert not recorder.last("RegisterApplication").scale
    with pytest.raises(OptionError, match="Name one: search, double"):
        asking.deploy()
    with pytest.raises(OptionError, match="declares no application 'other'"):
        asking.deploy("other")


def test_project_is_read_as_the_sdk_reads_it(
    asking: SyncServerlessClient, recorder: Any, rest: Any, project: Path, own: Path
):
    """
    Folders are relative to that of pyproject.toml, wherever the file of the application
    is; a health check is a table, and the scaling has one word.
    """
    (project / "inner").mkdir()
    (project / "inner/placed.py").write_text(
        "from fal_core import function\n"
        "@function(exposed_port=8765)\ndef answer() -> int:\n    return 1\n"
    )
    (project / "pyproject.toml").write_text(
        "[tool.fal.apps.plain]\n"
        'ref = "inner/placed.py::answer"\n'
        'requirements = ["./own"]\n'
        'app_files = ["words.txt"]\n'
        'app_files_context_dir = "data"\n'
        "app_scale_settings = true\n"
        'health_check = { path = "/up", timeout_seconds = 3, method = "post" }\n'
    )
    asking.deploy("plain")
    request = recorder.last("RegisterApplication")
    assert [file.relative_path for file in request.files] == ["words.txt"]
    assert request.scale
    check = MessageToDict(request.health_check_config)
    assert check == {"path": "/up", "timeoutSeconds": 3, "method": "POST"}
    assert [*rest.stored] == ["own-1.tar.gz"]


ENTRY = """
[tool.fal.apps.entry]
python_entry_point = "stockroom:Shop"
"""


def test_entry_point_is_asked_before_it_is_deployed(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    What an entry point says of itself is what its revision carries, and where it answers.
    """
    (project / "pyproject.toml").write_text(ENTRY)
    result = asking.deploy(environment_name="staging")
    asked = [name for name, _ in recorder.asked]
    assert asked[:3] == ["BuildEnvironment", "Run", "RegisterApplication"]
    assert recorder.last("Run").application_name == "entry--staging"
    request = recorder.last("RegisterApplication")
    assert request.WhichOneof("callable") == "entrypoint"
    assert request.entrypoint == "stockroom:Shop.run_local"
    assert MessageToDict(request.metadata) == {"openapi": {"paths": {"/look": {}}}}
    assert result.urls["sync"] == {"/look": "https://run.fal.test/me/app/look"}


@pytest.mark.parametrize(
    ("returned", "raised", "words"),
    [
        ([], False, "returned no dictionary"),
        ("", True, "no such module"),
        (Path("x"), False, "is no plain value"),
    ],
)
def test_entry_point_that_is_no_application_is_not_deployed(
    returned: Any,
    raised: bool,
    words: str,
    asking: SyncServerlessClient,
    recorder: Any,
    project: Path,
):
    """
    What cannot say what it serves is not deployed; what it returns is data, or refused.
    """
    (project / "pyproject.toml").write_text(ENTRY)
    recorder.returned, recorder.raised = returned, raised
    with pytest.raises(FalServerlessError, match=words):
        asking.deploy("entry")
    assert recorder.asked[-1][0] == "Run"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "has no 'ref'"),
        ('python_entry_point = "stockroom"', "'stockroom', which names no application"),
        ('ref = "a.py"\npython_entry_point = "a:b"', "'ref' and 'python_entry_point'"),
        ('ref = "a.py"\nimage = { image = "i" }', "'ref' and 'image'"),
        ("image = { dockerfile = 'Dockerfile' }", "'dockerfile', which only"),
        ("image = { image = 'i', build_args = {} }", "'build_args', which is nothing of an"),
        ("image = {}", "has no image"),
        ("image = { image = 1 }", r"image\.image"),
        ("image = { image = 'i', registries = { r = {} } }", "a username and a password"),
        ("image = { image = 'i' }\napp_files = ['a']", "has its own files"),
    ],
)
def test_wrong_entry_point_or_image_is_told(
    written: str, words: str, asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    An application is a file, an entry point or an image, and nothing else.
    """
    (project / "pyproject.toml").write_text(f"[tool.fal.apps.one]\n{written}\n")
    with pytest.raises(OptionError, match=words):
        asking.deploy("one")
    assert recorder.asked == []


def test_dry_run_of_an_entry_point_asks_nothing(
    asking: SyncServerlessClient, recorder: Any, project: Path, capsys: Any
):
    """
    A dry run tells which entry point would be deployed, and does not ask it.
    """
    (project / "pyproject.toml").write_text(ENTRY)
    assert run("deploy", "--dry-run") == 0
    assert "Entry point: stockroom:Shop" in capsys.readouterr().out
    assert recorder.asked == []


def test_what_is_said_of_a_revision_reaches_the_service(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    A message and annotations stand beside the OpenAPI document, and whether to wait
    for the rollout is said.
    """
    asking.deploy(
        "searching.py::Search",
        message="Find more",
        annotations={"commit": "1f2e3d"},
        attach_to_deployment=False,
    )
    request = recorder.last("RegisterApplication")
    assert request.HasField("attach_to_deployment")
    assert not request.attach_to_deployment
    metadata = MessageToDict(request.metadata)
    assert metadata["message"] == "Find more"
    assert metadata["annotations"] == {"commit": "1f2e3d"}
    assert "/find" in metadata["openapi"]["paths"]
    asking.deploy("searching.py::Search")
    request = recorder.last("RegisterApplication")
    assert not request.HasField("attach_to_deployment")
    assert set(MessageToDict(request.metadata)) == {"openapi"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"message": 3}, "is text, not 3"),
        ({"message": "x" * 2049}, "2049 characters"),
        ({"annotations": ["a"]}, "written as in"),
        ({"annotations": {"a": 1}}, "'a': 1"),
        ({"annotations": {"": "a"}}, "has a name and a text"),
        ({"annotations": {"openapi": "a"}}, "the service's own"),
        ({"annotations": {"k" * 65: "a"}}, "65 characters"),
        ({"annotations": {str(n): "a" for n in range(33)}}, "33 annotations"),
        ({"annotations": {"a": "é" * 9000}}, "16384 bytes"),
        ({"strategy": "recreate", "attach_to_deployment": True}, "Only a rolling"),
    ],
)
def test_what_cannot_be_said_of_a_revision_is_told(
    said: dict[str, Any], words: str, asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    What the service would not take is an error before it is asked.
    """
    for ask in (asking.deploy, functools.partial(deploying.prepare, asking)):
        with pytest.raises(OptionError, match=words):
            ask("searching.py::Search", **said)
    assert recorder.asked == []


def test_served_function_is_registered_with_its_document(
    asking: SyncServerlessClient, recorder: Any
):
    """
    What is registered without a file has its OpenAPI document too, and what is said
    beside goes over it.
    """

    @function(host=asking.make_host(), serve=True)
    def double(number: int) -> int:
        return 2 * number

    for func in (double, double.func):
        double.host.register(func, double.options, deployment_strategy="rolling")
        metadata = MessageToDict(recorder.last("RegisterApplication").metadata)
        assert list(metadata["openapi"]["paths"]) == ["/"]
    double.host.register(
        double.func,
        double.options,
        deployment_strategy="rolling",
        metadata={"openapi": {"own": True}, "message": "m"},
        attach_to_deployment=True,
    )
    request = recorder.last("RegisterApplication")
    assert MessageToDict(request.metadata) == {"openapi": {"own": True}, "message": "m"}
    assert request.attach_to_deployment


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("nothing.py::App", "no file nothing.py"),
        ("searching.py", "these isolated functions: Search, double"),
        ("searching.py::Missing", "no 'Missing'"),
        ("search", "no pyproject.toml"),
        (None, "no pyproject.toml"),
    ],
)
def test_application_that_is_not_there_is_told(
    ref: str | None, words: str, asking: SyncServerlessClient, project: Path
):
    """
    A reference that leads nowhere is an error before the service is asked.
    """
    with pytest.raises(OptionError, match=words):
        asking.deploy(ref)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("def add(a, b=1): ...", r"'add'.*a required argument: 'a'.*'serve=True'"),
        ("async def add(*, b): ...", r"'add'.*'b'.*'serve=True'"),
        ("def add(): ...", None),
        ("def add(a=1, *b, **c): ...", None),
    ],
)
def test_function_that_nothing_gives_arguments_is_not_deployed(
    declared: str, words: str | None, asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    What needs arguments, and is not served, is an error before the service is asked.
    """
    source = f'from fal_core import function\n\n@function("virtualenv")\n{declared}\n'
    (project / "searching.py").write_text(source)
    if words is None:
        assert asking.deploy("searching.py::add").app_name == "add"
    else:
        with pytest.raises(OptionError, match=words):
            asking.deploy("searching.py::add")
        assert recorder.asked == []


def test_function_is_given_what_its_setup_returns(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    The first argument of a deployed function is that of its setup, where it has one.
    """
    (project / "searching.py").write_text(
        "from fal_core import function\n\ndef load(): ...\n\n"
        "@function('virtualenv', setup_function=load)\ndef one(model): ...\n\n"
        "@function('virtualenv', setup_function=load)\ndef none(): ...\n"
    )
    assert asking.deploy("searching.py::one").app_name == "one"
    with pytest.raises(OptionError, match="'none' cannot be deployed: too many"):
        asking.deploy("searching.py::none")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('auth = "pubic"', r"tool\.fal\.apps\.one\.auth.*'pubic'"),
        ('deployment_strategy = "canary"', "deployment_strategy.*'canary'"),
        ('no_scale = "no"', "no_scale.*True, False"),
        ("keep_alves = 3", "keep_alves"),
        ("no_scale = true\nreset_scale = true", "'reset_scale' and 'no_scale'. Write one"),
        ("health_check = true", r"one\.health_check"),
        ("health_check = {}", "no path"),
        ('health_check = { path = "/", often = 1 }', "'often', which is nothing of a health"),
        ("health_check = { path = 1 }", r"one\.health_check\.path"),
        ('health_check = { path = "/", method = "PUT" }', r"check\.method.*'PUT'"),
        ("team = 1", r"one\.team"),
    ],
)
def test_wrong_declaration_of_a_project_is_told(
    written: str, words: str, asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    What a project declares wrongly is an error before the service is asked.
    """
    declared = f'[tool.fal.apps.one]\nref = "searching.py::Search"\n{written}\n'
    (project / "pyproject.toml").write_text(declared)
    with pytest.raises(OptionError, match=words):
        asking.deploy("one")
    assert recorder.asked == []


def test_deployed_pickle_needs_nothing_of_ours(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """
    What is registered is a pickle of built-in names, whatever Python opens it.
    """
    asking.deploy("searching.py::double")
    definition = recorder.last("RegisterApplication").function.definition

    class Naming(pickle.Unpickler):
        names: list[str] = []

        def find_class(self, module: str, name: str) -> Any:
            self.names.append(f"{module}.{name}")
            return super().find_class(module, name)

    import io

    opened = Naming(io.BytesIO(definition)).load()
    assert Naming.names == ["builtins.eval"]
    assert opened._run_on_main_thread is True


# -- files -------------------------------------------------------------------------


def test_files_are_uploaded_once(rest: Any, asking: SyncServerlessClient, tmp_path: Path):
    """
    The service keeps files by their content, and is sent what it lacks, in parts.
    """
    (tmp_path / "large").write_bytes(b"x" * (PART_SIZE + 5))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "copy").write_bytes(b"")
    (tmp_path / "copy").chmod(0o644)
    (tmp_path / "empty").chmod(0o644)
    files = Selection(paths=(".",), folder=tmp_path).collect()
    with asking.rest() as client:
        sent = send_files(client, files)
        assert [each.relative_path for each in sent] == ["copy", "empty", "large"]
        assert sent[0].hash == sent[1].hash
        assert {len(content) for content in rest.files.values()} == {0, PART_SIZE + 5}
        assert [len(part) for part in rest.parts[sent[2].hash].values()] == [PART_SIZE, 5]
        assert rest.facts[sent[2].hash]["size"] == str(PART_SIZE + 5)
        asked = len(rest.asked)
        assert send_files(client, files) == sent
    assert rest.asked[asked:] == [("POST", "/files/missing_hashes")]
    assert rest.headers[-1]["Authorization"] == "Key kid:ksecret"


def test_upload_that_fails_is_cancelled(
    rest: Any, asking: SyncServerlessClient, tmp_path: Path
):
    """
    A part that is refused ends the upload, and the error names the file.
    """
    path = tmp_path / "file"
    path.write_text("content")
    file = LocalFile.read(path, "file")
    rest.failing.add(f"/files/app/multipart/{file.hash}/u/1")
    with asking.rest() as client, pytest.raises(FalServerlessError, match=str(path)):
        send_files(client, [file])
    assert rest.asked[-1] == ("POST", f"/files/app/multipart/{file.hash}/u/cancel")


def test_hash_is_of_content_and_mode(tmp_path: Path):
    """
    The same content with another mode is another file.
    """
    path = tmp_path / "file"
    path.write_text("content")
    path.chmod(0o644)
    first = LocalFile.read(path, "file")
    path.chmod(0o755)
    second = LocalFile.read(path, "file")
    assert first.hash != second.hash
    assert first.hash == hashlib.sha256(b"content" + str(first.mode).encode()).hexdigest()


def test_ignored_files_stay(tmp_path: Path):
    """
    A pattern is looked for in paths relative to the folder, and takes what it finds.
    """
    for name in ("a.py", "b.tmp", "deep/c.py", "deep/d.tmp", "deep/skip/e.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    selection = Selection(
        paths=(".", "deep/c.py"), ignored=(r"\.tmp$", "^deep/skip/"), folder=tmp_path
    )
    assert [file.relative_path for file in selection.collect()] == ["a.py", "deep/c.py"]


@pytest.mark.parametrize(
    ("written", "more"),
    [
        ("", []),
        (", app_files_ignore=[r'\\.txt$']", [".git/config", "__pycache__/a.pyc"]),
        (", app_files_ignore=[]", [".git/config", "__pycache__/a.pyc", "words.txt"]),
    ],
)
@pytest.mark.parametrize("declared", ["@function({})\ndef it():\n", "class It(App, {}):\n"])
def test_repositories_stay(
    declared: str,
    written: str,
    more: list[str],
    project: Path,
    asking: SyncServerlessClient,
    monkeypatch: pytest.MonkeyPatch,
):
    """
    Applications and functions that say nothing leave repositories, and what Python
    compiles, where they are; what they write is in place of that.
    """
    monkeypatch.delitem(sys.modules, "holding", raising=False)
    folder = project / "data"
    for name in (".git/config", "__pycache__/a.pyc"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("secret")
    (project / "holding.py").write_text(
        "from fal_core import function\nfrom fal_serve import App\n"
        + declared.format(f"app_files=['data']{written}")
        + "    pass\n"
    )
    found = [file.relative_path for file in deploying.prepare(asking, "holding.py").files]
    expected = more or ["words.txt"]
    assert found == [f"data/{name}" for name in expected]


def test_application_says_what_stays():
    """
    What stays where nothing is said is what the class of applications shows.
    """
    from fal_serve import App

    assert App.app_files_ignore == [*USUALLY_IGNORED]


@pytest.mark.parametrize(
    ("paths", "ignored", "words"),
    [
        (("missing",), (), "'missing', and there is no"),
        (("../",), (), "outside of"),
        ((".",), ("[",), "no regular expression"),
    ],
)
def test_wrong_files_are_told(
    paths: tuple[str, ...], ignored: tuple[str, ...], words: str, tmp_path: Path
):
    """
    What is not there, lies outside, or is no pattern is an error of the declaration,
    where the files are looked at first as where they are collected.
    """
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "file").write_text("")
    (tmp_path / "outside").write_text("")
    selection = Selection(paths=paths, ignored=ignored, folder=folder)
    with pytest.raises(OptionError, match=words):
        selection.collect()
    with pytest.raises(OptionError, match=words):
        selection.check()


def test_files_too_large_are_told(tmp_path: Path):
    """
    A file that is too large is refused, before it is read.
    """
    with (tmp_path / "large").open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)
    selection = Selection(paths=("large",), folder=tmp_path)
    with pytest.raises(OptionError, match="large has more than"):
        selection.check()
    with pytest.raises(OptionError, match="large has more than"):
        selection.collect()


def test_files_are_not_read_to_check_a_function(project: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Before a function is launched its files are looked for; what is in them may be much.
    """
    read: list[Path] = []
    monkeypatch.setattr(files, "content_hash", lambda path, mode: read.append(path) or "")
    host = FalServerlessHost("127.0.0.1:1")
    options = HostOptions(app_files=("data",))
    host.check(CurrentEnvironment(), options, Gateway())
    assert not read
    assert preparations.selection(host, CurrentEnvironment(), options).collect()
    assert read == [project / "data" / "words.txt"]


@pytest.fixture
def own(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A project that applications require, in a folder of its own.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(project / "cache"))
    local = project / "own"
    (local / "src" / "own").mkdir(parents=True)
    (local / "src" / "own" / "__init__.py").write_text("")
    (local / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "own"\nversion = "1"\n'
    )
    return local


def test_local_requirement_is_uploaded(
    asking: SyncServerlessClient, recorder: Any, rest: Any, project: Path, own: Path
):
    """
    A project of this machine is built and uploaded once, and installed from where it lies.
    """
    (project / "needs.txt").write_text("cowsay==6.1  # a comment\n\n")
    (project / "plain.py").write_text(
        "from fal_core import function\n"
        '@function(requirements=["./own[fast]", "needs.txt"])\n'
        "def answer() -> int:\n    return 1\n"
    )
    asking.deploy("plain.py")
    configuration = MessageToDict(recorder.last("BuildEnvironment").environments[0])
    (archive,) = rest.stored
    assert configuration["configuration"]["requirements"] == [
        f"own[fast] @ http://{rest.address}/stored/{archive}",
        "cowsay==6.1",
    ]
    assert archive == "own-1.tar.gz"
    registered = MessageToDict(recorder.last("RegisterApplication").environments[0])
    assert registered["configuration"] == configuration["configuration"]
    assert rest.asked.count(("PUT", f"/stored/{archive}")) == 1
    assert (
        rest.headers[0]["X-Fal-Core-Digest"] == hashlib.sha256(rest.stored[archive]).hexdigest()
    )
    rest.asked.clear()
    asking.deploy("plain.py")
    assert rest.asked == []


def test_packing_is_repeatable(own: Path):
    """
    The same content makes the same archive, whenever it is packed; only what changed in
    a project has it packed again.
    """
    first = distributions.pack(own)
    content = first.archive.read_bytes()
    looks = trees.fingerprint(own)
    (own / "own.egg-info").mkdir()
    (own / "src/own/__pycache__").mkdir()
    assert trees.fingerprint(own) == looks
    for path in own.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert trees.fingerprint(own) != looks
    second = distributions.pack(own)
    assert second.archive.read_bytes() == content
    assert second.fingerprint != first.fingerprint
    (own / "src/own/__init__.py").write_text("1")
    third = distributions.pack(own)
    assert third.digest != first.digest
    assert [*third.folder.glob("*.tar.gz")] == [third.archive]


def test_calls_at_once_wait_for_one_upload(rest: Any, asking: SyncServerlessClient, own: Path):
    """
    Of calls that begin together one packs and uploads, and the others take its address.
    """
    lines: list[Log] = []
    with asking.rest() as client, ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda _: distributions.place(own, client, lines.append), range(8))
        assert {*found} == {f"http://{rest.address}/stored/own-1.tar.gz"}
        assert rest.asked.count(("PUT", "/stored/own-1.tar.gz")) == 1
        assert len(lines) == 1
        asked = len(rest.asked)
        distributions.doubt()
        rest.stored.clear()
        distributions.place(own, client, lines.append)
        assert len(lines) == 2
        assert rest.asked[asked] == ("GET", "/stored/own-1.tar.gz")


def test_commit_and_tag_change_how_a_project_looks(own: Path):
    """
    Versions are made of commits and tags, so that these count as files of a project do.
    """

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=me", "-c", "user.email=me@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=own.parent, check=True)
        return trees.fingerprint(own)

    looks = [
        trees.fingerprint(own),
        git("init", "-q"),
        git("commit", "-q", "--allow-empty", "-m", "first"),
        git("commit", "-q", "--allow-empty", "-m", "second"),
        git("tag", "v1"),
    ]
    assert len({*looks}) == len(looks)


def test_project_that_cannot_be_kept_is_packed_for_this_process(
    own: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    Where no cache can be written, there is a place for as long as the process.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", "/proc/nowhere")
    assert distributions.pack(own).archive.is_file()


# -- the command line ----------------------------------------------------------------


def run(*arguments: str) -> int:
    """
    Run the command line.
    """
    from fal_core.cli.program import run

    return run(arguments)


def test_deploy_command_tells_where_it_is(
    asking: SyncServerlessClient, recorder: Any, project: Path, capsys: Any
):
    """
    The revision and the addresses are printed; the service's own lines beside them.
    """
    assert run("deploy", "searching.py::Search", "--auth", "public", "--reset-scale") == 0
    printed = capsys.readouterr()
    assert "Deployed search, revision rev-1." in printed.out
    assert "Sync: https://run.fal.test/me/app/find" in printed.out
    assert "Installing" in printed.err
    request = recorder.last("RegisterApplication")
    assert request.scale
    assert request.auth_mode == 1
    said = ("--detach", "--message", "Find more", "--annotation", "by=me=you")
    assert run("deploy", "searching.py::Search", *said) == 0
    request = recorder.last("RegisterApplication")
    assert (request.HasField("attach_to_deployment"), request.attach_to_deployment) == (
        True,
        False,
    )
    assert MessageToDict(request.metadata)["annotations"] == {"by": "me=you"}
    assert run("deploy", "searching.py::Search", "--annotation", "by") == 2
    assert run("deploy", "searching.py::Search", *("--annotation", "a=b") * 2) == 2
    assert "'a' is written twice" in capsys.readouterr().err
    assert run("deploy", "searching.py::Search", "--json", "--app-name", "mine") == 0
    assert json.loads(capsys.readouterr().out)["app_name"] == "mine"


def test_dry_run_asks_nothing(
    asking: SyncServerlessClient, recorder: Any, rest: Any, project: Path, capsys: Any
):
    """
    A dry run tells what would travel, with its size, and neither asks nor uploads.
    """
    assert run("deploy", "searching.py::Search", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "data/words.txt  7" in printed
    assert "Files: 1, 7 bytes" in printed
    assert run("deploy", "searching.py::Search", "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["files"] == [{"path": "data/words.txt", "size": 7}]
    assert plan["endpoints"] == ["/", "/find"]
    assert plan["team"] is None
    assert recorder.asked == []
    assert rest.asked == []


def test_dry_run_tells_projects(
    asking: SyncServerlessClient,
    recorder: Any,
    rest: Any,
    project: Path,
    own: Path,
    capsys: Any,
):
    """
    Projects that are required travel too, so that a dry run packs them and tells how
    large they are.
    """
    (project / "needing.py").write_text(
        "from fal_core import function\n"
        "@function(requirements=[['./own[fast]'], ['./own', 'cowsay']])\n"
        "def answer() -> int:\n    return 1\n"
    )
    assert run("deploy", "needing.py", "--dry-run") == 0
    size = distributions.pack(own).size
    printed = capsys.readouterr().out
    assert f"Projects: 1, {size} bytes\n  {own}  own-1.tar.gz  {size}" in printed
    assert run("deploy", "needing.py", "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["projects"] == [{"path": str(own), "archive": "own-1.tar.gz", "size": size}]
    assert plan["size"] == size
    assert recorder.asked == []
    assert rest.asked == []


def test_team_of_a_project_is_that_of_its_deployment(
    asking: SyncServerlessClient, recorder: Any, project: Path, capsys: Any
):
    """
    The team that a project names is told, and gives way to that of the client; a key,
    which belongs to one account, leaves it aside and says so.
    """
    (project / "pyproject.toml").write_text(f"{PROJECT}\nteam = 'acme'\n")
    assert run("deploy", "double", "--dry-run") == 0
    printed = capsys.readouterr()
    assert "Team: acme" in printed.out
    assert "Team 'acme' is left aside: a key belongs to one account" in printed.err
    other = SyncServerlessClient(host=recorder.address, team="others")
    assert deploying.prepare(other, "double").team == "others"
    assert deploying.prepare(asking, "search").team is None


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("apps list", "app    shared  1"),
        ("apps list --filter other", "other"),
        ("apps rollout app", "being replaced"),
        ("apps runners app --state running", "running"),
        ("apps scale app --max-concurrency 3", "scales from 0 to 4"),
        ("runners list --since 10m", "idle"),
        ("runners stop r", "finishes its requests"),
        ("runners kill r", "is ended"),
        ("keys create --scope api", "FAL_KEY=k:s3cret"),
        ("keys create --preset deploy", "FAL_KEY=k:s3cret"),
        ("keys create --permission a:b,c:d --permission e:f", "FAL_KEY=k:s3cret"),
        ("keys list", "API"),
        ("keys revoke k", "accepted no more"),
        ("secrets set A=b", "Secret A is set."),
        ("secrets list", "TOKEN"),
        ("secrets unset A", "is removed"),
        ("environments list", "main"),
        ("environments create staging", "is there"),
        ("environments delete staging", "is removed"),
        ("queue size app", "3"),
        ("queue flush app", "is empty"),
    ],
)
def test_commands(arguments: str, printed: str, asking: SyncServerlessClient, capsys: Any):
    """
    Each command asks the service, and prints what it says.
    """
    assert run(*arguments.split()) == 0
    assert printed in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        *("apps list", "apps runners app", "apps scale app --keep-alive 1", "runners list"),
        *("keys list", "keys create --scope api", "secrets list", "environments list"),
        *("queue size app", "queue flush app", "apps rollout app", "runners stop r"),
        *("runners kill r", "keys revoke k", "secrets set A=b B=c", "secrets unset A"),
        *("environments create e", "environments delete e"),
    ],
)
def test_commands_print_json(arguments: str, asking: SyncServerlessClient, capsys: Any):
    """
    What is printed for people is there for machines too.
    """
    assert run(*arguments.split(), "--json") == 0
    assert json.loads(capsys.readouterr().out)


def test_flags_reach_the_service(asking: SyncServerlessClient, recorder: Any):
    """
    What a key may do, and who sees a secret, is what the flags say.
    """
    assert run("keys", "create", "--permission", "a:b, c:d", "--permission", "e:f") == 0
    request = recorder.last("CreateUserKey")
    assert list(request.policy.permissions) == ["a:b", "c:d", "e:f"]
    assert run("keys", "create") == 2
    assert run("keys", "create", "--scope", "api", "--preset", "full") == 2
    assert run("keys", "create", "--preset", "none") == 2
    for flag, exposed in (("--not-exposed-by-default", False), ("--exposed-by-default", True)):
        assert run("secrets", "set", "A=b", flag) == 0
        request = recorder.last("SetSecret")
        assert request.HasField("default_exposed")
        assert request.default_exposed is exposed
    assert run("secrets", "set", "A=b") == 0
    assert not recorder.last("SetSecret").HasField("default_exposed")


def test_queue_is_that_of_its_owner(asking: SyncServerlessClient, rest: Any):
    """
    A name alone is one of the caller's applications; another owner's has its name before.
    """
    rest.queues["you/app"] = 9
    from fal_host_serverless.queues import flush_queue, queue_size

    assert queue_size(asking, "app") == 3
    assert queue_size(asking, "you/app") == 9
    flush_queue(asking, "you/app")
    assert rest.queues == {"me/app": 3, "you/app": 0}
    assert deploying.get_user(asking) == deploying.User("7", "me")


def test_profiles_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    """
    A profile keeps an address and a key, which no command prints.
    """
    monkeypatch.setenv("FAL_CONFIG_PATH", str(tmp_path / "config.toml"))
    monkeypatch.setattr("sys.stdin", io.StringIO("id:very-secret\n" * 3))
    assert run("profile", "key") == 1
    assert run("profile", "set", "work") == 0
    assert run("profile", "host", "api.work.test") == 0
    assert run("profile", "key") == 0
    assert run("profile", "list", "--json") == 0
    printed = capsys.readouterr()
    assert "very-secret" not in printed.out + printed.err
    assert '"has_key": true' in printed.out
    assert '"current": true' in printed.out
    assert 'key = "id:very-secret"' in (tmp_path / "config.toml").read_text()
    assert run("profile", "list") == 0
    assert "work *" in capsys.readouterr().out
    for arguments, facts in (
        (("host", "api.work.test"), {"host": "api.work.test"}),
        (("key",), {"has_key": True}),
        (("set", "work"), {"current": "work"}),
        (("unset",), {"current": None}),
        (("delete", "work"), {"removed": "work"}),
    ):
        assert run("profile", *arguments, "--json") == 0
        assert json.loads(capsys.readouterr().out) == facts
    assert run("profile", "set", "work") == 0
    assert run("profile", "unset") == 0
    assert run("profile", "delete", "work") == 0
    assert run("profile", "delete", "work") == 1
    assert "no profile 'work'" in capsys.readouterr().err


def test_errors_of_the_rest_service_are_told(rest: Any, asking: SyncServerlessClient):
    """
    An answer that says no is an error with its words; one from nowhere names the place.
    """
    rest.failing.add("/users")
    with pytest.raises(FalServerlessError, match="answers 422 at /users/current: no"):
        deploying.get_user(asking)


def test_rest_client_has_no_key_in_its_repr(asking: SyncServerlessClient):
    """
    A client shows where it asks, and not as whom.
    """
    assert repr(RestClient("h", asking.credentials)) == "RestClient('h')"
