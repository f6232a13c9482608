"""Requirements that settle what is installed: locks, projects of uv, and programs with settings."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import attrs
import pytest

from fal_core.environments import LocalInterpreter
from fal_core.errors import EnvironmentBuildError, OptionError
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.building.builds import rebuild
from fal_env_virtualenv.store.environments import STORE
from fal_uv.running.uv import uv_command, uv_variables
from fal_uv.testing import Project, write_project, write_wheel

if TYPE_CHECKING:
    from conftest import Builder, Evaluate

ABSENT = "importlib.util.find_spec({!r}) is None"


def write_script(path: Path, block: str) -> Path:
    """Write a program with the *block* of inline metadata."""
    lines = textwrap.dedent(block).strip().splitlines()
    body = "".join(f"# {line}\n" for line in lines)
    path.write_text(f"# /// script\n{body}# ///\n")
    return path


def run_uv(*arguments: str, directory: Path) -> str:
    """Run uv as a user does, and return what it prints."""
    answer = subprocess.run(
        [*uv_command(), *arguments],
        cwd=directory,
        env=uv_variables(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return answer.stdout


def build_again(interpreter: LocalInterpreter) -> None:
    """Build the environment of *interpreter* again, as it was first resolved."""
    name = Path(interpreter.executable).parent.parent.name
    STORE.release(name)
    rebuild(name, lambda line: None, Event())


@pytest.fixture
def lock(cache: Path, tmp_path: Path) -> Path:
    """A lock of alpha-one 1.0, beside an index that has 2.0 too."""
    (tmp_path / "asked.txt").write_text("alpha-one<2\n")
    path = tmp_path / "pylock.toml"
    path.write_text(
        run_uv(
            *("pip", "compile", "--quiet", "--format", "pylock.toml", "--generate-hashes"),
            *("--no-header", "asked.txt"),
            directory=tmp_path,
        )
    )
    return path


@pytest.fixture
def workspace(cache: Path, tmp_path: Path) -> Project:
    """A project with a group, an extra, a lock, and another project of its workspace."""
    folder = tmp_path / "work"
    project = write_project(folder, requires=["alpha-one<2", "member"])
    write_project(folder / "member", requires=["gamma"])
    with (folder / "pyproject.toml").open("a") as file:
        file.write(
            '[project.optional-dependencies]\nfast = ["heavy"]\n'
            '[dependency-groups]\ndev = ["heavy"]\nextra-one = ["beta"]\n'
            "[tool.uv.sources]\nmember = { workspace = true }\n"
            '[tool.uv.workspace]\nmembers = ["member"]\n'
        )
    run_uv("lock", "--quiet", directory=folder)
    return project


def test_files_of_a_lock_are_installed(
    build: Builder, evaluate: Evaluate, lock: Path, wheels: Path
) -> None:
    """
    A lock is followed to the letter, other requirements beside it keep its versions, and a
    lost environment is built from it again.
    """
    environment = Virtualenv(requirements=[str(lock), "gamma"])
    interpreter = build(environment)
    said = "alpha_one.version, gamma.version", "alpha_one gamma"
    assert evaluate(interpreter, *said) == "1.0 3.1"
    with pytest.raises(EnvironmentBuildError, match="alpha-one"):
        build(Virtualenv(requirements=[str(lock), "alpha-one>=2"]))
    lock.unlink()
    build_again(interpreter)
    assert evaluate(interpreter, *said) == "1.0 3.1"


@pytest.mark.faults
def test_hashes_of_a_lock_are_enforced(
    build: Builder, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file than the one that was locked is refused, and so is a lock without hashes."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    text = lock.read_text()
    lock.write_text(re.sub('sha256 = "....', 'sha256 = "0000', text))
    with pytest.raises(EnvironmentBuildError, match="Hash mismatch"):
        build(Virtualenv(requirements=[str(lock)]))
    lock.write_text(re.sub(r",? hashes = \{[^}]*\}", "", text))
    with pytest.raises(EnvironmentBuildError, match="hashes"):
        build(Virtualenv(requirements=[str(lock)]))


def test_one_lock_says_all(lock: Path, workspace: Project, tmp_path: Path) -> None:
    """What cannot be followed beside a lock is refused at the declaration."""
    other = tmp_path / "pylock.other.toml"
    shutil.copy(lock, other)
    for options, says in (
        ({"requirements": [str(lock), str(other)]}, "both say which versions"),
        ({"requirements": [str(lock)], "project": workspace.path}, "both say which versions"),
        ({"requirements": [["gamma"], [str(lock)]]}, "not in the first layer"),
        ({"requirements": [str(lock)], "exclude_newer": "7 days"}, "changes nothing"),
        ({"requirements": [str(lock)], "index_url": "http://host/simple"}, "changes nothing"),
        ({"project": workspace.path, "torch_backend": "cpu"}, "changes nothing"),
        ({"project": workspace.path, "groups": ["nope"]}, "does not have. It has: dev, extra"),
        ({"project": workspace.path, "extras": ["nope"]}, "does not have. It has: fast"),
        ({"groups": ["dev"]}, "Name it with project='.'"),
        ({"project": tmp_path / "nowhere"}, "has no pyproject.toml"),
    ):
        with pytest.raises(OptionError, match=says):
            Virtualenv(**options)
    (workspace.path / "uv.lock").unlink()
    with pytest.raises(OptionError, match=r"has no uv\.lock\. Run 'uv lock' there"):
        Virtualenv(project=workspace.path)


def test_project_is_installed_as_it_is_locked(
    build: Builder, evaluate: Evaluate, workspace: Project
) -> None:
    """
    The project, those of its workspace that it needs, and the groups and extras that are
    named are installed; no group is by itself. Their sources are read in place.
    """
    interpreter = build(Virtualenv(project=workspace.path))
    said = "alpha_one.version, gamma.version, work.value, member.value"
    modules = "alpha_one gamma work member importlib.util"
    assert evaluate(interpreter, said, modules) == "1.0 3.1 1 1"
    assert evaluate(interpreter, ABSENT.format("heavy"), modules) == "True"
    workspace.write("value = 1 + 1\n")
    assert evaluate(interpreter, said, modules) == "1.0 3.1 2 1"
    more = Virtualenv(
        project=workspace.path / "pyproject.toml", groups=["extra-one"], extras=["fast"]
    )
    assert evaluate(build(more), "heavy.version, beta.version", "heavy beta") == "1.0 1.0"
    (workspace.path / "uv.lock").write_text("")
    build_again(interpreter)
    assert evaluate(interpreter, said, modules) == "1.0 3.1 2 1"


def test_lock_of_a_project_must_be_current(build: Builder, workspace: Project) -> None:
    """
    A project that has changed since it was locked is refused, unless the lock is frozen. A
    change of either builds anew.
    """
    environment = Virtualenv(project=workspace.path, frozen=True)
    key = environment.key
    file = workspace.path / "pyproject.toml"
    file.write_text(file.read_text().replace("'member'", "'member', 'heavy'"))
    assert environment.key != key
    build(environment)
    with pytest.raises(EnvironmentBuildError, match="Run 'uv lock', or write frozen=True"):
        build(Virtualenv(project=workspace.path))


def test_settings_of_a_program_hold(
    build: Builder, evaluate: Evaluate, project: Project, tmp_path: Path
) -> None:
    """
    Constraints and sources in the block of a program count, and other edits of the program
    change nothing.
    """
    script = write_script(
        tmp_path / "script.py",
        """
        dependencies = ["alpha-one", "demo"]
        [tool.uv]
        constraint-dependencies = ["alpha-one<2"]
        [tool.uv.sources]
        demo = { path = "./demo", editable = true }
        """,
    )
    environment = Virtualenv(requirements=[str(script)])
    interpreter = build(environment)
    said = "alpha_one.version, demo.value, gamma.version", "alpha_one demo gamma"
    assert evaluate(interpreter, *said) == "1.0 1 3.1"
    key = environment.key
    script.write_text(f"{script.read_text()}print('more')\n")
    assert (environment.key, environment.is_built()) == (key, True)
    script.write_text(script.read_text().replace("<2", "<3"))
    assert environment.key != key


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ('[tool.uv]\nlink-mode = "copy"', r"tool\.uv\.link-mode in .*script\.py is not honour"),
        ('dependences = ["gamma"]', r"dependences in .*script\.py is unknown"),
        ("dependencies = [", r"script\.py is not valid TOML"),
    ],
)
def test_settings_that_cannot_hold_are_named(tmp_path: Path, block: str, says: str) -> None:
    """A setting that would be dropped is an error."""
    script = write_script(tmp_path / "script.py", block)
    with pytest.raises(OptionError, match=says):
        Virtualenv(requirements=[str(script)])


def test_settings_of_a_project_whose_dependencies_alone_are_named(
    build: Builder, evaluate: Evaluate, tmp_path: Path
) -> None:
    """A ``pyproject.toml`` in place of its project keeps its sources, and no setting is dropped."""
    path = tmp_path / "pyproject.toml"
    local = write_wheel(tmp_path, "delta", "7.0")
    text = (
        '[project]\nname = "a"\nversion = "1"\ndependencies = ["delta"]\n'
        f'[tool.uv.sources]\ndelta = {{ path = "{local}" }}\n[tool.uv]\n'
    )
    path.write_text(f"{text}managed = true\n")
    interpreter = build(Virtualenv(requirements=[str(path)]))
    assert evaluate(interpreter, "delta.version", "delta") == "7.0"
    path.write_text(f'{text}exclude-newer = "7 days"\n')
    with pytest.raises(OptionError, match=r"tool\.uv\.exclude-newer .* project='\.'"):
        Virtualenv(requirements=[str(path)])


def test_lock_beside_a_program(build: Builder, evaluate: Evaluate, tmp_path: Path, cache: Path):
    """The lock that uv keeps of a program is used, and must be current."""
    script = write_script(tmp_path / "script.py", 'dependencies = ["alpha-one<2"]')
    run_uv("lock", "--quiet", "--script", "script.py", directory=tmp_path)
    environment = Virtualenv(requirements=[str(script)])
    assert evaluate(build(environment), "alpha_one.version", "alpha_one") == "1.0"
    write_script(script, 'dependencies = ["alpha-one<3"]')
    with pytest.raises(EnvironmentBuildError, match="its lock is older"):
        build(Virtualenv(requirements=[str(script)]))


def test_python_of_the_files_is_chosen(other_python: str, tmp_path: Path, cache: Path) -> None:
    """Where a program excludes the running Python, another one of this machine is taken."""
    script = write_script(
        tmp_path / "script.py", f'requires-python = "=={other_python}.*"\ndependencies = []'
    )
    chosen = Virtualenv(requirements=[str(script)]).python_version
    assert chosen is not None
    assert chosen.startswith(other_python)
    with pytest.raises(OptionError, match="requires Python"):
        Virtualenv(requirements=[str(script)], python_version="3.10")


def test_lock_is_written(
    build: Builder, evaluate: Evaluate, workspace: Project, tmp_path: Path
) -> None:
    """The lock of an environment builds the same one, whatever it was made of."""
    environment = Virtualenv(requirements=[["alpha-one<2"], ["gamma"]])
    locked = Virtualenv(project=workspace.path, requirements=["heavy"])
    for number, (each, modules) in enumerate(
        ((environment, "alpha_one gamma"), (locked, "alpha_one gamma member work heavy"))
    ):
        texts = each.lock(lambda line: None, Event())
        path = tmp_path / f"pylock.number{number}.toml"
        path.write_text(texts[""])
        again = build(Virtualenv(requirements=[str(path)]))
        assert evaluate(again, "alpha_one.version", modules) == "1.0"


def test_choices_are_checked_and_enter_the_key(cache: Path) -> None:
    """What changes what is built has another key; a wrong value is refused where it is written."""
    plain = Virtualenv(requirements=["gamma"])
    changed = {
        attrs.evolve(plain, **options).key
        for options in (
            {"index_url": "http://host/simple"},
            {"exclude_newer": "7 days"},
            {"exclude_newer": "2026-05-01"},
            {"torch_backend": "cpu"},
            {"torch_backend": "cu128"},
        )
    }
    assert len({plain.key, *changed}) == 6
    url = "http://me:hunter2@host/simple"
    hidden = attrs.evolve(plain, index_url=url)
    assert "hunter2" not in repr(hidden)
    assert hidden.key == attrs.evolve(plain, index_url="http://host/simple").key
    for name, value in (
        *(("torch_backend", each) for each in ("cuda", "", "cu")),
        *(("exclude_newer", each) for each in ("a week", "7", "", "P", "2 months")),
    ):
        with pytest.raises(OptionError, match=name):
            Virtualenv(**{name: value})


def test_services_are_not_given_what_they_do_not_follow(
    lock: Path, workspace: Project, tmp_path: Path
) -> None:
    """A service that builds the environment itself is refused locks, projects and choices."""
    plain = write_script(tmp_path / "plain.py", 'dependencies = ["gamma"]')
    assert Virtualenv(requirements=[str(plain)]).definition() is None
    for options, says in (
        ({"requirements": [str(lock)]}, "is a lock or has settings of uv"),
        ({"project": workspace.path}, "'project' is not for a service"),
        ({"torch_backend": "cpu"}, "'torch_backend' is not for a service"),
        ({"exclude_newer": "7 days"}, "'exclude_newer' is not for a service"),
        ({"index_url": "http://host"}, "'index_url' is not for a service"),
    ):
        with pytest.raises(OptionError, match=says):
            Virtualenv(**options).definition()
