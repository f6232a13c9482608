"""Builds of environments from the packages of a local channel."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fal_core.environments import THIS_PYTHON
from fal_core.errors import EnvironmentBuildError
from fal_env_conda import Conda
from fal_env_conda.building import builds
from fal_env_conda.testing import CondaPackage, make_channel
from fal_uv.testing import write_wheel


def test_packages_are_installed_with_their_python(
    build: Any, evaluate: Any, channel: str, cache: Path
) -> None:
    """The interpreter is the prefix's own, of the caller's version, and imports the packages."""
    environment = Conda(packages=["alpha-one", "beta"], channels=[channel])
    assert not environment.is_built()
    interpreter = build(environment)
    assert environment.is_built()
    assert interpreter.python_version == THIS_PYTHON
    prefix = evaluate(interpreter, "sys.prefix")
    assert Path(prefix).parent == cache
    assert evaluate(interpreter, "alpha_one.version", "alpha_one") == "1.0"
    assert build(environment) == interpreter
    assert build.logs == []


def test_another_python_is_one_more_package(
    build: Any, evaluate: Any, channel: str, other_python: str
) -> None:
    """No Python of that version is looked for on this machine."""
    interpreter = build(Conda(python_version=other_python, channels=[channel]))
    assert interpreter.python_version == other_python
    assert evaluate(interpreter, "'%d.%d' % sys.version_info[:2]") == other_python


def test_unsolvable_is_an_error_with_the_whole_reason(build: Any, channel: str) -> None:
    """The error is rattler's reason, with every package that takes part in it."""
    with pytest.raises(EnvironmentBuildError) as caught:
        build(Conda(packages=["demanding", "beta"], channels=[channel]))
    assert caught.value.kind == "conda"
    assert "demanding" in caught.value.reason
    assert "alpha-one >=3" in caught.value.reason


def test_package_may_be_named_by_its_url(
    build: Any, evaluate: Any, channel: str, channel_folder: Path
) -> None:
    """It is installed though it is of no channel."""
    url = (channel_folder / "noarch" / "alpha-one-1.0-py_0.tar.bz2").as_uri()
    interpreter = build(Conda(packages=[url], channels=[channel]))
    assert evaluate(interpreter, "alpha_one.version", "alpha_one") == "1.0"


def test_package_that_no_channel_has_is_named(build: Any, channel: str) -> None:
    """The error names what was not found, and where it was looked for."""
    with pytest.raises(EnvironmentBuildError) as caught:
        build(Conda(packages=["nowhere"], channels=[channel]))
    reason = caught.value.reason
    assert "No candidates were found for nowhere" in reason
    assert reason.endswith(f"\nPackages were looked for in these channels: {channel}/")


def test_driver_that_the_machine_lacks_is_told(
    build: Any, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Packages that need a driver for CUDA where there is none, or an older one, are an error
    that says what to do, before rattler's own words.
    """
    wanted = Conda(packages=["engine=1.0"], channels=[channel])
    for version in ("", "11.8"):
        monkeypatch.setenv("CONDA_OVERRIDE_CUDA", version)
        with pytest.raises(EnvironmentBuildError) as caught:
            build(wanted)
        reason = caught.value.reason
        assert reason.startswith("The machine has no such driver for CUDA, '__cuda'")
        assert "CONDA_OVERRIDE_CUDA" in reason
        assert "engine 1.0 would require" in reason


def test_environment_file_is_built(build: Any, evaluate: Any, channel: str) -> None:
    """Its packages, pip requirements and variables are there."""
    environment = Conda(
        env_dict={
            "channels": [channel],
            "dependencies": ["alpha-one", {"pip": ["gamma"]}],
            "variables": {"GREETING": "good day"},
        }
    )
    interpreter = build(environment)
    assert evaluate(interpreter, "gamma.version", "gamma") == "3.1"
    assert evaluate(interpreter, "os.environ['GREETING']") == "good day"


def test_activation_without_a_shell_is_an_error(
    build: Any, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages with scripts need bash; others do not."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build(Conda(packages=["alpha-one"], channels=[channel]))
    with pytest.raises(EnvironmentBuildError, match="There is no bash"):
        build(Conda(packages=["words"], channels=[channel]))


def test_activation_that_fails_is_an_error(build: Any, channel: str, tmp_path: Path) -> None:
    """The error has what the script printed."""
    script = b"echo there is no licence >&2\nexit 3\n"
    package = CondaPackage(
        name="failing", version="1.0", files={"etc/conda/activate.d/failing.sh": script}
    )
    own = make_channel(tmp_path / "own", [package])
    with pytest.raises(EnvironmentBuildError, match="bash ended with code 3") as caught:
        build(Conda(packages=["failing"], channels=[own, channel]))
    assert "there is no licence" in "\n".join(caught.value.lines)


def test_activation_scripts_reach_the_worker(build: Any, evaluate: Any, channel: str) -> None:
    """A process of the environment sees what the scripts of its packages set."""
    interpreter = build(Conda(packages=["words"], channels=[channel]))
    prefix = evaluate(interpreter, "sys.prefix")
    assert evaluate(interpreter, "os.environ['WORDS_GREETING']") == "good day"
    assert evaluate(interpreter, "os.environ['WORDS_HOME']") == f"{prefix}/share/words"
    assert evaluate(interpreter, "os.environ['CONDA_PREFIX']") == prefix
    assert evaluate(interpreter, "os.environ['PATH'].split(':')[0]") == f"{prefix}/bin"


def test_variables_are_as_they_were_written(
    build: Any, evaluate: Any, channel: str, tmp_path: Path
) -> None:
    """
    No shell reads them, also where packages have scripts; these see them. They come before what
    packages set.
    """
    text = "say \"hi\" 'you' $HOME `date` \\n and\nmore"
    package = CondaPackage(
        name="told",
        version="1.0",
        files={
            "etc/conda/activate.d/told.sh": b'export HEARD="$TOLD"\n',
            "etc/conda/env_vars.d/told.json": b'{"OWN": "of the package"}\n',
        },
    )
    own = make_channel(tmp_path / "own", [package])
    variables = {"TOLD": text, "OWN": "mine", "LANG": os.environ.get("LANG", "C")}
    for packages in (["alpha-one"], ["told"]):
        values = {"channels": [own, channel], "dependencies": packages, "variables": variables}
        interpreter = build(Conda(env_dict=values))
        assert dict(interpreter.variables) | variables == dict(interpreter.variables)
    assert interpreter.variables["HEARD"] == text
    prefix = Path(interpreter.executable).parent.parent
    state = json.loads((prefix / "conda-meta" / "state").read_text())
    assert state == {"env_vars": variables}


def test_index_of_pip(
    build: Any, evaluate: Any, channel: str, tmp_path: Path, wheels: Path, monkeypatch: Any
) -> None:
    """What pip requires comes from the index that is declared."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("UV_FIND_LINKS")
    page = tmp_path / "simple" / "gamma" / "index.html"
    page.parent.mkdir(parents=True)
    files = sorted(wheels.glob("gamma-*.whl"))
    page.write_text("".join(f'<a href="{each.as_uri()}">{each.name}</a>' for each in files))
    index = page.parents[1].as_uri()
    options: tuple[dict[str, Any], ...] = (
        {"index_url": index},
        {"index_url": (tmp_path / "nowhere").as_uri(), "extra_index_urls": [index]},
    )
    for each in options:
        environment = Conda(packages=["alpha-one"], channels=[channel], pip=["gamma"], **each)
        assert evaluate(build(environment), "__import__('gamma').version") == "3.1"


def test_build_leaves_no_temporary_files(
    build: Any, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither rattler's nor uv's."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    build(Conda(packages=["alpha-one"], channels=[channel], pip=["gamma"]))
    assert list(temporary.iterdir()) == []


def test_forced_environment_is_chosen_and_built_anew(
    build: Any, evaluate: Any, channel: str, tmp_path: Path, wheels: Path, monkeypatch: Any
) -> None:
    """
    It gets what channels and indexes have now, in a prefix of its own; the old one stays for
    those who use it. Once in a process is enough, and later builds share the new one.
    """
    found = tmp_path / "found"
    shutil.copytree(wheels, found)
    monkeypatch.setenv("UV_FIND_LINKS", str(found))
    own = make_channel(tmp_path / "own", [CondaPackage(name="tool", version="1.0")])
    options: dict[str, Any] = {
        "packages": ["tool"],
        "pip": ["gamma"],
        "channels": [own, channel],
    }
    first = build(Conda(**options))
    make_channel(tmp_path / "own", [CondaPackage(name="tool", version="2.0")])
    write_wheel(found, "gamma", "4.0")
    assert build(Conda(**options)) == first

    forced = Conda(**options, force=True)
    assert not forced.is_built()
    second = build(forced)
    assert forced.is_built()
    assert Path(first.executable).exists()
    prefix = Path(second.executable).parent.parent
    assert (prefix / "conda-meta" / "tool-2.0-0.json").exists()
    assert evaluate(second, "gamma.version", "gamma") == "4.0"
    assert build(forced) == build(Conda(**options)) == second
    # Where nothing is newer, it is built anew all the same.
    builds.forget()
    assert build(forced) != second
