"""``fal-core plugins new`` and ``fal-core new``: projects that work from the first moment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fal_core.environments import THIS_PYTHON

ROOT = Path(__file__).resolve().parents[2]

#: Results of the tests of an environment's project, and of those where there is no other
#: Python than this one.
ALL_OF_ENVIRONMENT = {"passed": 18, "skipped": 2}
WITHOUT_OTHER = {"passed": 17, "skipped": 3}


def create(program: Any, name: str, role: str) -> Path:
    """Create a project, and make it installed for the program."""
    done = program("plugins", "new", name, f"--{role}", "--path", "project")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(
        " in project. Install and test it:\n"
        "  pip install -e 'project[testing]' && pytest project\n"
    )
    project: Path = program.folder / "project"
    declared = (project / "pyproject.toml").read_text()
    information = project / "src" / "created-0.1.0.dist-info"
    information.mkdir()
    plugins = declared.partition("[project.entry-points.fal_core]\n")[2].partition("\n\n")[0]
    (information / "entry_points.txt").write_text(f"[fal_core]\n{plugins}\n".replace('"', ""))
    program.variables["PYTHONPATH"] = str(project / "src")
    return project


def pytest_in(program: Any, project: Path, *arguments: str) -> str:
    """Run the tests of *project*, which pass, and return what pytest says."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env=program.variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def results(said: str) -> dict[str, int]:
    """Return how many tests ended in each way, of what pytest has printed."""
    counts = re.findall(r"(\d+) (passed|skipped)", said.splitlines()[-1])
    return {how: int(number) for number, how in counts}


@pytest.mark.parametrize("role", ["host", "environment"])
def test_project_is_typed_and_tidy(command_line: Any, role: str) -> None:
    """A created project compiles, has no template names left, and has a README."""
    project = create(command_line, "deep-blue", role)
    files = [path for path in project.rglob("*") if path.is_file()]
    assert not [path for path in files if "$" in str(path) or path.suffix == ".template"]
    for path in files:
        assert "$" not in path.read_text()
        if path.suffix == ".py":
            compile(path.read_text(), str(path), "exec")
    readme = (project / "README.md").read_text()
    assert "deep-blue" in readme
    assert "pip install -e '.[testing]'" in readme


def test_environment_project_passes_its_tests(command_line: Any) -> None:
    """The project of a kind of environment passes its own tests as it was created."""
    project = create(command_line, "deep-blue", "environment")
    # It needs no plugin beside the core.
    command_line.variables["FAL_CORE_PLUGINS"] = "deep-blue"
    assert results(pytest_in(command_line, project)) in (ALL_OF_ENVIRONMENT, WITHOUT_OTHER)
    assert "environments: deep-blue" in command_line("plugins", "list").stdout


def test_skipped_test_of_a_project_says_why(command_line: Any) -> None:
    """Where no other Python is installed, the test that needs one says so."""
    project = create(command_line, "deep-blue", "environment")
    command_line.variables["PATH"] = str(command_line.folder)
    said = pytest_in(command_line, project)
    assert results(said) == WITHOUT_OTHER
    assert f"No Python that runs a worker is installed beside {THIS_PYTHON}." in said


def test_host_project_passes_its_tests(command_line: Any) -> None:
    """The project of a host runs calls by its name as it was created."""
    project = create(command_line, "deep-blue", "host")
    found = results(pytest_in(command_line, project, "tests/test_plugin.py"))
    assert found in ({"passed": 3}, {"passed": 2, "skipped": 1})
    command_line.write(
        "functions.py",
        """
        from fal_core import function

        @function("current")
        def count(up_to: int):
            for number in range(up_to):
                print("at", number)
                yield number
        """,
    )
    done = command_line("run", "functions.py", "2", "--on", "deep-blue")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["0", "1", "at 0", "at 1"]


def run(command: list[str], folder: Path) -> str:
    """Run *command* in *folder*, and return what it prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_projects_are_installed_as_they_say(command_line: Any) -> None:
    """
    In a new virtual environment with fal-core and fal-testing alone, both projects can be
    installed and pass the tests of their users.
    """
    uv = shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if uv is None:
        pytest.skip("There is no uv here, which makes the environment.")
    folder = command_line.folder
    for role in ("host", "environment"):
        done = command_line("plugins", "new", "deep-blue", f"--{role}", "--path", role)
        assert done.returncode == 0, done.stderr
    python = str(folder / "venv" / "bin" / "python")
    run([uv, "venv", "--quiet", "--python", sys.executable, "venv"], folder)
    library = str(ROOT / "plugins/fal-testing")
    wanted = [str(ROOT), library, "./host[testing]", "./environment[testing]"]
    install = [uv, "pip", "install", "--quiet", "--python", python]
    done = subprocess.run(
        [*install, *(word for each in wanted for word in ("-e", each))],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        # Where nobody looks, what was not tried would be taken for what works.
        tell = pytest.fail if os.environ.get("CI") else pytest.skip
        tell(f"The projects cannot be installed: {done.stderr.strip()[-500:]}")

    pytest_there = [python, "-m", "pytest", "-q"]
    assert "deep-blue" in run([python, "-m", "fal_core.cli", "hosts", "list"], folder)
    found = results(run([*pytest_there, "tests/test_plugin.py"], folder / "host"))
    assert sum(found.values()) == 3
    assert sum(results(run(pytest_there, folder / "environment")).values()) == 20


def test_distribution_names_its_plugin(command_line: Any) -> None:
    """The name of the distribution is as good as that of the plugin in it."""
    done = command_line("plugins", "new", "fal-host-slurm")
    assert done.returncode == 0, done.stderr
    assert "Created fal-host-slurm. Install and test it:\n" in done.stdout
    assert (command_line.folder / "fal-host-slurm/src/fal_host_slurm/hosts.py").is_file()
    assert (
        "class SlurmHost"
        in (command_line.folder / "fal-host-slurm/src/fal_host_slurm/hosts.py").read_text()
    )


def test_nothing_is_overwritten(command_line: Any) -> None:
    """A directory that is not empty is left as it is."""
    command_line.write("taken/file", "mine")
    done = command_line("plugins", "new", "slurm", "--path", "taken")
    assert done.returncode == 1
    assert "taken is not empty." in done.stderr
    assert [path.name for path in (command_line.folder / "taken").iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["Slurm", "my_host", "2fast", "class", "", "a--b"])
def test_odd_names_are_usage_errors(command_line: Any, name: str) -> None:
    """A name that cannot be that of a module and of a URL is refused."""
    done = command_line("plugins", "new", name)
    assert done.returncode == 2
    assert f"{name!r} cannot be the name of a plugin. A name begins with" in done.stderr


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["local"], "A host called 'local' is installed already, by fal-host-local."),
        (["fal-host-local"], "A host called 'local' is installed already, by fal-host-local."),
        (
            ["current", "--environment"],
            "A kind of environment called 'current' is installed already, by fal-core.",
        ),
    ],
)
def test_names_that_are_taken_are_refused(
    command_line: Any, words: list[str], taken: str
) -> None:
    """A project with the name of an installed plugin is refused, and nothing is written."""
    done = command_line("plugins", "new", *words)
    assert done.returncode == 2
    assert taken in done.stderr
    assert not list(command_line.folder.glob("fal-*"))


def test_project_is_of_one_kind(command_line: Any) -> None:
    """A host and a kind of environment are begun apart; asking for both is wrong use."""
    for words in (["--host", "--environment"], ["--environment", "--host"]):
        done = command_line("plugins", "new", "acme", *words)
        assert done.returncode == 2
        assert "give '--host' or '--environment', not both" in done.stderr
        assert not list(command_line.folder.glob("fal-*"))


def test_name_of_an_installed_distribution_is_refused(command_line: Any) -> None:
    """A distribution of the name is enough, also where its plugin is called something else."""
    command_line.write("site/fal_host_acme-1.dist-info/METADATA", "Name: fal-host-acme")
    command_line.variables["PYTHONPATH"] = str(command_line.folder / "site")
    done = command_line("plugins", "new", "acme")
    assert done.returncode == 2
    assert "A distribution called 'fal-host-acme' is installed already." in done.stderr


@pytest.fixture(scope="module")
def requirement(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the functions of new projects import."""
    uv = pytest.importorskip("fal_uv.running.uv", reason="Nothing builds environments.")
    folder = tmp_path_factory.mktemp("requirement")
    install = ["pip", "install", "--quiet", "--python", sys.executable, "--target", folder]
    subprocess.run([*uv.uv_command(), *install, "humanize>=4.12"], check=True, timeout=300)
    return folder


@pytest.mark.parametrize(
    ("template", "words", "printed", "tests"),
    [
        ("function", ["run", "deep_blue.py::describe", "3000000"], "'3.0 MB'", 2),
        ("pipeline", ["run", "deep_blue.py::summarise", "2"], "'size': 3000}", 3),
        ("app", ["explain", "deep_blue.py"], "DeepBlue on local: runs", 2),
    ],
)
def test_new_project_runs_and_passes_its_tests(
    command_line: Any,
    requirement: Path,
    template: str,
    words: list[str],
    printed: str,
    tests: int,
) -> None:
    """
    A project runs as it was created, and passes its tests, in its own environments and in
    the process of the tests.
    """
    pytest.importorskip("fal_env_virtualenv")
    pytest.importorskip("fal_serve" if template == "app" else "fal_host_local")
    done = command_line("new", "deep-blue", "--template", template)
    assert done.returncode == 0, done.stderr
    assert "Created deep-blue. Run and test it:\n  cd deep-blue\n" in done.stdout
    folder = command_line.folder / "deep-blue"
    assert not [path for path in folder.rglob("*") if "$" in str(path)]
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert not [text for text in texts if "$" in text]
    run = [*command_line.argv, *words]
    said = subprocess.run(
        run, cwd=folder, env=command_line.variables, capture_output=True, text=True, timeout=240
    )
    assert said.returncode == 0, said.stderr
    assert printed in said.stdout
    command_line.variables["PYTHONPATH"] = str(requirement)
    assert results(pytest_in(command_line, folder)) == {"passed": tests}


def test_new_project_names_its_extra_and_its_version(command_line: Any) -> None:
    """
    A project requires the fal-core that it was created with, or one that is compatible, and
    the extra that it needs.
    """
    from importlib.metadata import version

    for template, extra in (("function", "local"), ("app", "serve"), ("pipeline", "local")):
        done = command_line("new", "words", "--template", template, "--path", template)
        assert done.returncode == 0, done.stderr
        assert f"pip install 'fal-core[{extra},testing]'" in done.stdout
        declared = (command_line.folder / template / "pyproject.toml").read_text()
        assert f'"fal-core[{extra}]~={version("fal-core")}"' in declared


@pytest.mark.parametrize("name", ["Words", "my_words", "2fast", "class", "json", "a--b"])
def test_name_that_is_no_module_is_refused(command_line: Any, name: str) -> None:
    """A name that cannot be that of a module, or is one of Python's own, is wrong use."""
    done = command_line("new", name)
    assert done.returncode == 2
    assert f"{name!r} cannot be the name of a project." in done.stderr
    assert not list(command_line.folder.iterdir())


@pytest.mark.parametrize("name", ["fal-core", "humanize"])
def test_name_of_what_a_project_imports_is_refused(command_line: Any, name: str) -> None:
    """A module of that name would hide the package from the functions and their tests."""
    done = command_line("new", name)
    assert done.returncode == 2
    module = name.replace("-", "_")
    assert f"its module would stand in the place of the package {module!r}" in done.stderr
    assert not list(command_line.folder.iterdir())


def test_new_project_overwrites_nothing(command_line: Any) -> None:
    """A directory that is not empty is left as it is."""
    command_line.write("words/file", "mine")
    done = command_line("new", "words")
    assert done.returncode == 1
    assert "words is not empty." in done.stderr
    assert [path.name for path in (command_line.folder / "words").iterdir()] == ["file"]
