"""
The host's requests equal those of the released SDK, field for field.

Both are recorded by one service. Left out are the pickles, the requirements that either
side adds for its own server, and of the OpenAPI document what neither has for the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import pytest
from google.protobuf.json_format import MessageToDict

from fal_core import function
from fal_host_serverless import FalServerlessHost, SyncServerlessClient
from fal_host_serverless.deploying import registrations
from fal_host_serverless.wire.requests import UploadedInputs
from fal_serve import App, endpoint

#: The release that is compared with.
SDK = "fal==1.83.0"

DECLARATIONS: list[dict[str, Any]] = [
    {},
    {"requirements": ["cowsay==6.1"]},
    {"requirements": [["numpy"], ["cowsay==6.1"]]},
    {"resolver": "uv", "requirements": ["cowsay"]},
    {"compile_bytecode": True, "resolver": "uv"},
    {"force_env_build": True, "requirements": ["cowsay"]},
    {"machine_type": "GPU-H100"},
    {"machine_type": ["GPU-H100", "GPU-A100"], "num_gpus": 2},
    {"keep_alive": 300, "max_concurrency": 8, "min_concurrency": 1},
    {"concurrency_buffer": 2, "concurrency_buffer_perc": 10, "scaling_delay": 30},
    {"max_multiplexing": 4, "request_timeout": 60, "request_start_timeout": 5},
    {"startup_timeout": 600, "regions": ["us-east", "eu-west"]},
    {"serve": True},
    {"serve": True, "metrics_port": 9191, "requirements": ["cowsay"]},
    {"exposed_port": 8765},
    {"exposed_port": 8765, "health_check_config": {"path": "/up", "timeout_seconds": 3}},
    {"secrets": ["TOKEN"], "data_mounts": ["/data", "/data/cache"]},
    {"secrets": []},
    {"_base_image": "img", "_scheduler": "nomad", "_scheduler_options": {"storage": "eu"}},
    {"app_files": ["data"], "app_files_ignore": ["\\.tmp$"]},
    {"setup_function": True, "keep_alive": 20},
]

#: Images of a function, where the plugin of containers is installed. Their context is the
#: folder of the function.
IMAGES: list[dict[str, Any]] = [
    {"dockerfile_str": "FROM python:3.11\nRUN pip install numpy\n"},
    {
        "dockerfile_str": "FROM a AS b\nCOPY data /data\nFROM a\nCOPY --from=b /x /y\n",
        "build_args": {"VERSION": "3"},
        "secrets": {"TOKEN": "value"},
        "registries": {"r.test": {"username": "me", "password": "word"}},
        "dockerignore": ["*.tmp"],
        "builder": "depot",
        "compression": "zstd",
        "force_compression": True,
        "entrypoint": ["python"],
        "cmd": "serve",
    },
]

#: Conda environments, where the plugin of them is installed.
CONDA: list[dict[str, Any]] = [
    {"packages": ["numpy>=2"]},
    {"packages": ["numpy"], "pip": ["cowsay==6.1"], "channels": ["conda-forge", "bioconda"]},
    {"packages": ["numpy"], "python_version": "3.11"},
    {"env_yml": "environment.yml", "pip": ["cowsay"], "channels": ["bioconda"]},
    {"env_dict": {"channels": ["conda-forge"], "dependencies": ["numpy", {"pip": ["cowsay"]}]}},
]

#: The environments of the service that the first function runs in, too.
ENVIRONMENTS = ["main", "staging"]

#: Class keywords of an application, which is run, built and registered.
APPLICATIONS: list[dict[str, Any]] = [
    {},
    {
        "machine_type": ["GPU-H100", "GPU-A100"],
        "requirements": ["cowsay"],
        "num_gpus": 1,
        "regions": ["us-east"],
        "min_concurrency": 1,
        "max_concurrency": 4,
        "max_multiplexing": 2,
        "concurrency_buffer": 1,
        "scaling_delay": 5,
        "request_timeout": 60,
        "startup_timeout": 90,
        "termination_grace_period_seconds": 20,
        "keep_alive": 300,
        "secrets": ["TOKEN"],
        "data_mounts": ["/data"],
        "metrics_port": 9191,
        "app_files_ignore": ["\\.tmp$"],
    },
    {"resolver": "pip", "_scheduler": "other", "_scheduler_options": {"a": "b"}},
]

REGISTRATIONS: list[dict[str, Any]] = [
    {"deployment_strategy": "rolling"},
    {
        "deployment_strategy": "recreate",
        "application_name": "mine",
        "application_auth_mode": "shared",
        "source_code": "print()",
        "metadata": {"message": "first"},
        "scale": False,
        "environment_name": "staging",
    },
]

REGISTERED: list[dict[str, Any]] = [
    {
        "exposed_port": 8765,
        "private_logs": True,
        "skip_retry_conditions": ["timeout", "server_error"],
        "retry_config": {"timeout": {"retries": 2}},
        "termination_grace_period_seconds": 20,
        "keep_alive": 60,
        "secrets": ["TOKEN"],
    },
    {"serve": True, "requirements": ["cowsay"]},
]

#: A project whose applications do not say what it says of them.
PROJECT = r"""
[tool.fal.apps.served]
ref = "inner/app.py::serve"
auth = "shared"
deployment_strategy = "recreate"
app_scale_settings = true
requirements = [["numpy"], ["cowsay==6.1"]]
machine_type = ["GPU-H100", "GPU-A100"]
num_gpus = 2
regions = ["us-east"]
keep_alive = 300
min_concurrency = 1
max_concurrency = 8
max_multiplexing = 2
concurrency_buffer = 1
scaling_delay = 30
request_timeout = 60
startup_timeout = 600
termination_grace_period_seconds = 20
private_logs = true
secrets = ["TOKEN"]
data_mounts = ["/data/cache"]
skip_retry_conditions = ["server_error"]
retry_config = { timeout = { retries = 2 } }
app_files = ["deep", "words.txt"]
app_files_ignore = ["\\.tmp$"]
app_files_context_dir = "files"
health_check = { path = "/up", timeout_seconds = 3, call_regularly = true, method = "post" }

[tool.fal.apps.renamed]
name = "other"
ref = "inner/app.py::serve"
no_scale = false
app_files = ["beside.txt"]

[tool.fal.apps.entry]
python_entry_point = "stockroom.apps:Shop"
requirements = ["cowsay"]
auth = "public"
app_files = ["files/words.txt"]

[tool.fal.apps.boxed]
exposed_port = 8000
health_check = { path = "/up" }

[tool.fal.apps.boxed.image]
image = "registry.test/box:1"
cmd = ["serve", "--all"]
registries = { "registry.test" = { username = "me", password = "secret" } }

[tool.fal.apps.within]
python_entry_point = "stockroom.apps:Shop"
image = { image = "registry.test/box:1" }
python_version = "3.11"
"""

PROJECT_FILES = {
    "files/words.txt": "words",
    "files/deep/er.txt": "deeper",
    "files/deep/er.tmp": "left",
    "inner/beside.txt": "beside",
}

#: Does in the SDK's own environment what the test does in this one.
SCRIPT = """
import json, sys
import fal
from fal.api import FalServerlessHost
from fal.sdk import ApplicationHealthCheckConfig
work = json.load(sys.stdin)
def answer(loaded=None):
    return 1
def load():
    return 2
def prepared(options):
    if options.get("setup_function"):
        options["setup_function"] = load
    image = options.get("image")
    if image:
        options["image"] = fal.ContainerImage(**image)
    check = options.get("health_check_config")
    if check:
        options["health_check_config"] = ApplicationHealthCheckConfig(
            path=check["path"], start_period_seconds=None, failure_threshold=None,
            timeout_seconds=check["timeout_seconds"], call_regularly=None)
    return options
def run(made):
    try:
        made()
    except fal.api.InternalFalServerlessError:
        pass
host = FalServerlessHost(work["address"], local_file_path=work["file"])
for options in work["declarations"]:
    run(fal.function(host=host, **prepared(options))(answer))
for name in work["environments"]:
    place = FalServerlessHost(work["address"], environment_name=name)
    run(fal.function(host=place)(answer))
for options in work["registered"]:
    made = fal.function(host=host, **options)(answer)
    for registration in work["registrations"]:
        host.register(made.func, made.options, **registration)
for options in work["applications"]:
    written = {name: value for name, value in options.items() if hasattr(fal.App, name)}
    keywords = {name: value for name, value in options.items() if name not in written}
    class Search(fal.App, **keywords):
        locals().update(written)
        @fal.endpoint("/")
        def find(self, word: str) -> str:
            return word
        @fal.endpoint("/more")
        def more(self, word: str, count: int = 1) -> list[str]:
            return [word]
    made = fal.app.wrap_app(Search, host=host)
    run(made)
    host.build_environment(made.options, application_name="search", environment_name="staging")
    host.register(
        made.func, made.options, application_name="search", environment_name="staging",
        metadata=made.build_metadata(), deployment_strategy="rolling", build_environment=False)
"""


DEPLOYING = """
import sys
from fal.api import SyncServerlessClient
client = SyncServerlessClient()
for name in sys.argv[1:]:
    client.deploy(name)
"""


@pytest.fixture(scope="session")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the released SDK."""
    from uv import find_uv_bin

    folder = tmp_path_factory.mktemp("sdk") / "venv"
    variables = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    uv, python = find_uv_bin(), folder / "bin/python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    install = [uv, "pip", "install", "-q", "--python", python, SDK, "setuptools"]
    subprocess.run(install, check=True, env=variables)
    return python


def plain(name: str, request: Any) -> dict[str, Any]:
    """Return *request* without its pickles."""
    told: dict[str, Any] = MessageToDict(request, preserving_proto_field_name=True)
    told.pop("function", None)
    # Here it is in the pickle of the function.
    told.pop("setup_func", None)
    configuration = told["environments"][0]["configuration"]
    entries = [
        each
        for layer in configuration.get("requirements", [])
        for each in ([layer] if isinstance(layer, str) else layer)
    ]
    if any(each.startswith("fastapi") for each in entries):
        # Each side's server needs other things.
        configuration["requirements"] = [each for each in entries if each == "cowsay"]
    metadata = told.get("metadata", {})
    document = metadata.pop("openapi", None)
    # What the playground of a server knows beside it.
    metadata.pop("declared_paths", None)
    metadata.pop("own_pages", None)
    if document is not None:
        told["endpoints"] = sorted(document["paths"])
    return {"rpc": name, **told}


def declare(host: FalServerlessHost, options: dict[str, Any]) -> Any:
    """Return a function of these options."""
    setup = {"setup_function": lambda: 2} if options.get("setup_function") else {}

    @function(host=host, **{**options, **setup})
    def answer(loaded: Any = None) -> int:
        return 1

    return answer


def apply(host: FalServerlessHost, options: dict[str, Any]) -> None:
    """Run, build and register an application of these options."""

    class Search(App, **options):
        @endpoint("/")
        def find(self, word: str) -> str:
            return word

        @endpoint("/more")
        def more(self, word: str, count: int = 1) -> list[str]:
            return [word]

    made = Search.to_function(host)
    run(made)
    registration = registrations.Registration(application_name="search")
    service = attrs.evolve(host.find_service(), stage="staging")
    registrations.build(
        service, registrations.seal(made), UploadedInputs(), registration, print
    )
    host.register(
        made.func,
        made.options,
        application_name="search",
        environment_name="staging",
        deployment_strategy="rolling",
        build_environment=False,
    )


def run(made: Any) -> None:
    """Call *made*, which the recorder runs nothing of."""
    with pytest.raises(Exception, match="failed while it ran the call"):
        made()


def test_requests_are_those_of_the_sdk(
    recorder: Any, rest: Any, sdk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK and this host send the same requests for the same declarations."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "kept.txt").write_text("kept")
    (data / "left.tmp").write_text("left")
    file = tmp_path / "app.py"
    file.write_text("")
    containers = find_spec("fal_env_container") is not None
    conda = find_spec("fal_env_conda") is not None
    images = [{**image, "context_dir": str(tmp_path)} for image in IMAGES if containers]
    (tmp_path / "environment.yml").write_text(
        "name: mine\nchannels: [conda-forge]\ndependencies: [numpy, {pip: [cowsay==6.1]}]\n"
    )
    monkeypatch.chdir(tmp_path)
    declarations = [
        *DECLARATIONS,
        *({"image": image, "requirements": ["cowsay"]} for image in images),
        *({"kind": "conda", **environment} for environment in CONDA if conda),
        *({"kind": "container", "image": image} for image in images),
    ]
    work = {
        "address": recorder.address,
        "file": str(file),
        "declarations": declarations,
        "environments": ENVIRONMENTS,
        "registrations": REGISTRATIONS,
        "registered": REGISTERED,
        "applications": APPLICATIONS,
    }
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    subprocess.run([sdk, script], input=json.dumps(work), text=True, check=True, env=variables)
    theirs, recorder.asked = recorder.asked, []
    registered = len(REGISTRATIONS) * len(REGISTERED)
    ran = len(declarations) + len(ENVIRONMENTS)
    assert len(theirs) == ran + registered + 3 * len(APPLICATIONS)

    host = FalServerlessHost(recorder.address, local_file_path=str(file))
    # Nothing is built here, and no engine is looked for.
    monkeypatch.setenv("FAL_CORE_CONTAINER_ENGINE", "none-on-this-machine")
    for options in declarations:
        run(declare(host, options))
    for name in ENVIRONMENTS:
        run(declare(FalServerlessHost(recorder.address, environment_name=name), {}))
    for options in REGISTERED:
        made = declare(host, options)
        for registration in REGISTRATIONS:
            host.register(made.func, made.options, **registration)
    for options in APPLICATIONS:
        apply(host, options)
    ours = recorder.asked

    for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
        assert plain(*other) == plain(*one), index
    metadata = [
        {key: each[key] for key in ("auth-key", "auth-key-id")} for each in recorder.metadata
    ]
    assert metadata == [{"auth-key": "ksecret", "auth-key-id": "kid"}] * len(metadata)


def test_projects_are_deployed_as_by_the_sdk(
    recorder: Any, rest: Any, sdk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK and this host send the same requests for the applications of a project."""
    names = ("served", "renamed", "entry", "boxed", "within")
    projects = {}
    for who, decorator in (("theirs", "fal.function"), ("ours", "fal_core.function")):
        projects[who] = folder = tmp_path / who
        for name, content in {"pyproject.toml": PROJECT, **PROJECT_FILES}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        (folder / "inner/app.py").write_text(
            f"import {decorator.partition('.')[0]}\n\n\n"
            f"@{decorator}(exposed_port=8765)\ndef serve():\n    return 1\n"
        )
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sdk, "-c", DEPLOYING, *names]
    subprocess.run(command, cwd=projects["theirs"], check=True, env=variables)
    theirs, recorder.asked = recorder.asked, []

    monkeypatch.chdir(projects["ours"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    client = SyncServerlessClient(host=recorder.address)
    for name in names:
        client.deploy(name)
        monkeypatch.delitem(sys.modules, "app", raising=False)
    rpcs = ("BuildEnvironment", "Run", "RegisterApplication")
    ours = [each for each in recorder.asked if each[0] in rpcs]

    assert len(theirs) == 2 * len(names) + 2
    for one, other in zip(theirs, ours, strict=True):
        told = [plain(*each) for each in (one, other)]
        for each in told:
            each.pop("source_code", None)
        assert told[1] == told[0]
