"""The reference has all that a program can write."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from fal_core import SpawnInfo, function
from fal_core.abilities import DetachingHost
from fal_core.aio import AsyncCalls
from fal_core.calling import LateExecution
from fal_core.calls import Call
from fal_core.environments import Environment, LocalInterpreter
from fal_core.functions import IsolatedFunction
from fal_core.hosts import Capabilities, Host
from fal_core.machines import Machine
from fal_core.options import Gateway, HostOptions
from fal_core.plugins import load_plugins
from fal_core.policies import Policy
from fal_core.pools import Start, WorkerHost, WorkerPools
from fal_core.sinks import Journal
from fal_core.workers import Worker

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

#: Names that look like variables of the environment, and begin as such.
VARIABLE = re.compile(
    r"(FAL_CORE|UV|PIP|XDG|PYENV|ASDF|MISE|SSL|REQUESTS|CONDA|VIRTUAL)_[A-Z_]+|NO_COLOR|TMPDIR|TERM"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The folder of the documentation, built: the one that FAL_CORE_BUILT names, or one that is
    built here.
    """
    if folder := os.environ.get("FAL_CORE_BUILT"):
        return Path(folder)
    pytest.importorskip("sphinx")
    made = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-E", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(made / "trees"), str(DOCS), str(made / "html")],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return made / "html"


@pytest.fixture(scope="module")
def pages(built: Path) -> dict[str, str]:
    """The pages of the reference, as text in one line each."""
    return {
        path.stem: re.sub(r"<[^>]+>", "", path.read_text("utf-8"))
        for path in (built / "reference").glob("*.html")
    }


#: Words that people look for, and pages that are found by them.
SEARCHED = [
    ("cuda", "how-to/gpu-service"),
    ("docker", "how-to/deployment"),
    ("docker", "containers"),
    ("gpu", "how-to/gpu-service"),
    ("gpu", "machines"),
    ("nginx", "how-to/deployment"),
]


def test_search_finds_the_page_of_a_word(built: Path) -> None:
    """
    What people look for first leads to the page on it, by the words that the search knows
    of its text and its titles.
    """
    text = (built / "searchindex.js").read_text("utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))

    def found(word: str) -> set[str]:
        pages = set()
        for part in ("terms", "titleterms"):
            numbers = index[part].get(word, [])
            numbers = numbers if isinstance(numbers, list) else [numbers]
            pages |= {index["docnames"][number] for number in numbers}
        return pages

    assert [(word, page) for word, page in SEARCHED if page not in found(word)] == []


def missing(page: str, names: Iterator[str] | list[str]) -> list[str]:
    return [name for name in names if not re.search(rf"\b{re.escape(name)}\b", page)]


def test_every_option_is_there(pages: dict[str, str]) -> None:
    """The options of every kind of environment and of every host are listed."""
    for kind, cls in load_plugins().environments.items():
        options = [field.alias for field in attrs.fields(cls) if field.init]
        assert missing(pages["kinds"], [kind, *options]) == []
    for name, host in load_plugins().hosts.items():
        own = {field.alias for field in attrs.fields(host.options)}
        own -= {field.alias for field in attrs.fields(HostOptions)}
        acted_on = host.capabilities.options or ()
        assert missing(pages["installed-hosts"], [name, *own, *acted_on]) == []
    for options_class in (HostOptions, Gateway):
        names = [field.alias for field in attrs.fields(options_class)]
        assert missing(pages["options"], names) == []


def test_every_field_of_an_option_says_what_it_means() -> None:
    """Each option is described, in the docstring that the reference is made from."""
    environments = load_plugins().environments.values()
    hosts = [host.options for host in load_plugins().hosts.values()]
    for cls in (*environments, *hosts, HostOptions, Gateway, Policy):
        text = "".join(inspect.cleandoc(base.__doc__ or "") for base in cls.__mro__)
        public = [f.name for f in attrs.fields(cls) if f.init and not f.name.startswith("_")]
        assert [name for name in public if f"\n    {name}: " not in text] == []


def test_public_methods_are_in_the_reference(pages: dict[str, str]) -> None:
    """Every keyword of ``function``, every field of a policy, and every method is listed."""
    page = pages["functions"]
    names = list(inspect.signature(function).parameters)
    names += [field.name for field in attrs.fields(Policy)]
    for cls in (IsolatedFunction, SpawnInfo, AsyncCalls):
        names += [name for name in vars(cls) if not name.startswith("_")]
    assert missing(page, names) == []
    assert "seal: Literal[" in page
    assert "= &#39;once&#39;" in page or "= 'once'" in page


def methods_of(cls: type) -> list[str]:
    """
    Return the public methods and properties of *cls* that have a docstring, with those of
    bases that are not public.
    """
    bases = [each for each in cls.__mro__ if each is cls or each.__name__ == "StoppableWorker"]
    return [
        name
        for base in bases
        for name, member in vars(base).items()
        if not name.startswith("_") and getattr(member, "__doc__", None)
        if callable(member) or isinstance(member, classmethod | property)
    ]


#: Pages, and classes that are on them.
OF_AUTHORS: list[tuple[str, type]] = [
    ("environments", Environment),
    ("environments", LocalInterpreter),
    ("hosts", Host),
    ("hosts", Capabilities),
    ("hosts", DetachingHost),
    ("hosts", Machine),
    ("hosts", Start),
    ("hosts", WorkerHost),
    ("hosts", WorkerPools),
    ("hosts", Worker),
    ("hosts", LateExecution),
    ("hosts", Journal),
    ("options", HostOptions),
    ("calls", Call),
]


def test_what_an_author_stands_on_is_there(
    pages: dict[str, str], check_all: Callable[..., None]
) -> None:
    """
    Each class that hosts and environments are written with is listed, with its fields, its
    arguments and its methods, those of a base that is not public included.
    """

    def check(row: tuple[str, type]) -> None:
        page, cls = row
        names = [cls.__name__, *methods_of(cls)]
        if attrs.has(cls) and not issubclass(cls, Host):
            names += [field.alias for field in attrs.fields(cls)]
        if "Arguments:" in (cls.__doc__ or ""):
            names += list(inspect.signature(cls).parameters)
        assert missing(pages[page], names) == []

    check_all(check, OF_AUTHORS)


#: Pages, and modules and names of classes that are on them.
OF_APPLICATIONS = [
    ("serving", "fal_serve", "App"),
    ("serving", "fal_serve", "AppSpawnInfo"),
    ("clients", "fal_serve", "AppClient"),
    ("clients", "fal_serve", "AsyncAppClient"),
    ("clients", "fal_host_serverless", "SyncServerlessClient"),
    ("clients", "fal_host_serverless.client", "AppsNamespace"),
    ("clients", "fal_host_serverless.client", "RunnersNamespace"),
    ("clients", "fal_host_serverless.client", "KeysNamespace"),
    ("clients", "fal_host_serverless.client", "SecretsNamespace"),
    ("clients", "fal_host_serverless.client", "EnvironmentsNamespace"),
    ("clients", "fal_host_serverless.values", "SubmittedRequest"),
]


def test_classes_of_applications_and_clients_are_there(
    pages: dict[str, str], check_all: Callable[..., None]
) -> None:
    """
    What applications are written with, and what calls and manages them, is listed with its
    methods and its fields.
    """

    def check(row: tuple[str, str, str]) -> None:
        page, module, name = row
        cls = getattr(importlib.import_module(module), name)
        fields = [field.alias for field in attrs.fields(cls)] if attrs.has(cls) else []
        assert missing(pages[page], [name, *methods_of(cls), *fields]) == []

    check_all(check, OF_APPLICATIONS)


def test_names_of_serving_are_in_the_reference(pages: dict[str, str]) -> None:
    """Each name that fal_serve exports is on one of the two pages."""
    names = list(importlib.import_module("fal_serve").__all__)
    assert missing(pages["serving"] + pages["clients"], names) == []


def test_functions_of_authors_are_there(pages: dict[str, str]) -> None:
    """The functions that authors call are listed, and a default is written as in the code."""
    names = ["shared_by", "resolve_machine", "read_journal"]
    assert missing(pages["hosts"], names) == []
    assert "shared_by: SharedBy = shared_by," in pages["hosts"]
    assert not re.search(r"&lt;(function|class) |9223372036854775807", pages["hosts"])


def test_no_generated_method_is_in_the_reference(pages: dict[str, str]) -> None:
    """What attrs generates, and what Python calls by itself, is on no page."""
    found = {
        (page, name)
        for page, text in pages.items()
        for name in re.findall(r"__[a-z_]+__", text)
        if name not in {"__call__", "__file__"}
    }
    assert not found


def variables_in_code() -> set[str]:
    """Return the variables of the environment that the code names."""
    sources = [
        *(ROOT / "src").rglob("*.py"),
        *(path for path in (ROOT / "plugins").glob("*/src/**/*.py")),
    ]
    found = set()
    for path in sources:
        if "fal_testing" in path.parts:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        found.update(text for text in texts if VARIABLE.fullmatch(str(text)))
    return found


def test_every_variable_is_there() -> None:
    """The page of variables has each that the code reads, and no other."""
    page = (DOCS / "reference" / "variables.md").read_text("utf-8")
    told = {name for name in re.findall(r"`([^`]+)`", page) if VARIABLE.fullmatch(name)}
    assert told == variables_in_code()
