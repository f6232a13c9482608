"""``ContainerImage``, beside that of the released SDK."""

from __future__ import annotations

import copy
import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from fal_core.declaring.vocabulary import restore_environment, unstructure_environment
from fal_core.errors import OptionError
from fal_env_container import Container, ContainerImage

DOCKERFILES = [
    "FROM python:3.11\nRUN pip install numpy\n",
    "FROM a\nCOPY one two /x/\nADD three.tgz /\n",
    'FROM a\nCOPY ["a b", "/c", "/d"]\n',
    "FROM a AS b\nCOPY --chown=1:1 --chmod=755 /src ./x/ /d\nFROM c\nCOPY --from=b /x /y\n",
    "FROM a\nADD https://example.com/x.tgz /y\nadd *.py /z\n",
    "FROM a\nCOPY one \\\n    two \\\n    /x/\nCOPY $DIR/x /y\n",
    "FROM a\n# COPY not this\n",
]

OPTIONS: list[dict[str, Any]] = [
    {},
    {"build_args": {"A": "1"}, "secrets": {"TOKEN": "x"}, "builder": "depot"},
    {"registries": {"r.io": {"username": "u", "password": "p"}}, "compression": "zstd"},
    {"entrypoint": ["python", "-m", "x"], "cmd": "serve", "force_compression": True},
    {"use_isolate": False, "dockerignore": ["*.pyc", "/a/b", "!x", "# no", "docs/**", ""]},
    {"context_dir": "other"},
]


@pytest.fixture(scope="session")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module of images of the released SDK."""
    uv = pytest.importorskip("uv", reason="uv is not installed")
    folder = tmp_path_factory.mktemp("sdk")
    command = [uv.find_uv_bin(), "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, "--python", sys.executable, "fal>=1.80"], check=True)
    spec = importlib.util.spec_from_file_location("fal_container", folder / "fal/container.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look themselves up.
    sys.modules["fal_container"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sdk: ModuleType) -> Path:
    # The SDK's default is the directory of its import.
    fields = sdk.ContainerImage.__dataclass_fields__
    monkeypatch.chdir(fields["context_dir"].default)
    return tmp_path


@pytest.mark.parametrize("text", DOCKERFILES)
def test_service_is_told_what_the_sdk_tells(sdk: ModuleType, current: Path, text: str):
    """An image travels to the service as that of the released SDK does."""
    for options in OPTIONS:
        theirs = sdk.ContainerImage.from_dockerfile_str(text, **options)
        ours = ContainerImage.from_dockerfile_str(text, **options)
        assert ours.to_dict() == theirs.to_dict()


def test_ignored_files_are_those_of_the_sdk(sdk: ModuleType, current: Path):
    """The lines that count are those given, of the file given, or of the context's own file."""
    (current / ".dockerignore").write_text("# no\n*.a\n\nb/\n")
    (current / "other").write_text("*.c\n")
    for options in (
        {"context_dir": current},
        {"context_dir": current, "dockerignore_path": current / "other"},
        {"context_dir": current, "dockerignore": ["x"]},
    ):
        theirs = sdk.ContainerImage("FROM a", **options)
        ours = ContainerImage("FROM a", **options)
        assert ours.to_dict() == theirs.to_dict()
        theirs.add_dockerignore(patterns=["*.z"])
        ours.add_dockerignore(patterns=["*.z"])
        assert ours.to_dict() == theirs.to_dict()


def test_fields_are_those_of_the_sdk(sdk: ModuleType):
    """Names, order and defaults of the fields are those of the released SDK."""
    import dataclasses

    theirs = [each.name for each in dataclasses.fields(sdk.ContainerImage)]
    assert [each.name for each in attrs.fields(ContainerImage)] == theirs
    for name in theirs:
        if name != "context_dir":
            ours = getattr(ContainerImage("FROM a"), name)
            assert ours == getattr(sdk.ContainerImage("FROM a"), name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dockerfile_str": " "}, "Dockerfile is empty"),
        ({"registries": {"r": {"username": "u"}}}, "'password'"),
        ({"builder": "mine"}, "'depot'"),
        ({"cmd": [1]}, "'cmd'"),
        ({"use_isolate": "no"}, "'use_isolate'"),
    ],
)
def test_wrong_fields_are_refused(options: dict[str, Any], message: str):
    """What the SDK refuses is refused where it is written, as a ValueError."""
    with pytest.raises(OptionError, match=message):
        ContainerImage(**{"dockerfile_str": "FROM a", **options})
    with pytest.raises(OptionError, match="either"):
        ContainerImage("FROM a").add_dockerignore()


def test_image_of_a_file(tmp_path: Path):
    """A Dockerfile may be a file, and a file to ignore by must be there."""
    (tmp_path / "Dockerfile").write_text("FROM a\n")
    image = ContainerImage.from_dockerfile(str(tmp_path / "Dockerfile"), cmd="x")
    assert (image.dockerfile_str, image.cmd) == ("FROM a\n", "x")
    assert os.fspath(image.context_dir) == os.getcwd()
    with pytest.raises(FileNotFoundError, match="absent"):
        ContainerImage("FROM a", dockerignore_path=tmp_path / "absent")


def test_secrets_leave_no_process():
    """A pickle and what is shown have no passwords and no secrets, a copy has them."""
    login = {"r.io": {"username": "u", "password": "hidden-1"}}
    image = ContainerImage("FROM a", registries=login, secrets={"TOKEN": "hidden-2"})
    assert b"hidden" not in pickle.dumps(image)
    assert "hidden" not in repr(image)
    opened = pickle.loads(pickle.dumps(image))
    assert (opened.secrets, opened.dockerfile_str) == ({"TOKEN": ""}, "FROM a")
    travelled = unstructure_environment(Container(image=image))
    assert "hidden" not in str(travelled)
    assert restore_environment(travelled) == Container(image=opened)
    for copied in (copy.copy(image), copy.deepcopy(image)):
        assert copied == image
        assert copied.secrets == {"TOKEN": "hidden-2"}


def test_images_are_made_of_what_travels():
    """What is sent to the service describes the image again, and a wrong field is named."""
    image = ContainerImage("FROM a\nCOPY x /x", build_args={"A": "1"}, context_dir="/c")
    opened = ContainerImage.of_mapping(image.to_dict())
    assert (opened.dockerfile_str, opened.build_args) == (image.dockerfile_str, {"A": "1"})
    assert os.fspath(opened.context_dir) == "/c"
    with pytest.raises(OptionError, match="'colour'"):
        ContainerImage.of_mapping({"dockerfile_str": "FROM a", "colour": 1})
    with pytest.raises(OptionError, match="dockerfile_str"):
        ContainerImage.of_mapping({})


@pytest.mark.parametrize(
    "fields",
    [
        *({"build_args": 5}, {"build_args": {"x": 5}}, {"build_args": {"x=y": "z"}}),
        *({"registries": ["x"]}, {"registries": {"x": 5}}, {"secrets": ["x"]}),
        *({"secrets": {"x": 5}}, {"secrets": {"x,src=/etc/passwd": "v"}}),
        {"dockerignore": 5},
    ],
)
def test_fields_are_checked_where_they_are_declared(fields: dict[str, object]):
    """
    A field of another type, or a name that an engine would take for more than a name, is an
    error of the declaration.
    """
    with pytest.raises(OptionError, match=r"Option '|The registry"):
        ContainerImage.of_mapping({"dockerfile_str": "FROM a", **fields})
