"""What the options of a declaration mean together."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.environments import THIS_PYTHON
from fal_core.errors import OptionError
from fal_env_conda.declaring.channels import Credentials
from fal_env_conda.declaring.definitions import Definition, define
from fal_env_conda.declaring.environment_files import EnvironmentFile

_NOTHING = EnvironmentFile()


def _define(
    *packages: str, version: str | None = None, channels: tuple[str, ...] = ()
) -> Definition:
    return define(
        _NOTHING, python_version=version, packages=packages, pip=(), channels=channels
    )


def test_options_extend_what_the_file_says() -> None:
    """Channels and pip requirements of the options come after those of the file."""
    file = EnvironmentFile(channels=("one",), packages=("numpy",), pip=("six",))
    definition = define(
        file, python_version="3.12", packages=(), pip=("attrs",), channels=("two",)
    )
    assert definition.specs == ("numpy", "python 3.12.*")
    assert definition.pip == ("six", "attrs")
    assert [url.split("/")[-2] for url in definition.channels] == ["one", "two"]


def test_pip_lists_may_name_indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are searched too; a password in one is shown nowhere. Other options are refused."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more.txt").write_text("six\n")
    url = "https://me:hunter2@host/simple"
    file = EnvironmentFile(pip=(f"--extra-index-url {url}", "-r more.txt"))
    definition = define(file, python_version=None, packages=(), pip=(), channels=())
    assert definition.indexes == (url,)
    assert definition.pip == (f"-r {tmp_path}/more.txt",)
    assert "hunter2" not in repr(definition)
    for flag in ("--pre", "--index-url=https://host/simple"):
        with pytest.raises(OptionError, match=f"{flag[:5]}.* has no meaning in option 'pip'"):
            define(
                EnvironmentFile(pip=(flag,)),
                python_version=None,
                packages=(),
                pip=(),
                channels=(),
            )


def test_python_is_the_callers_unless_asked_for() -> None:
    """A range of versions is met by the caller's, if it allows that."""
    assert _define("python >=3.8").specs == ("python >=3.8", f"python {THIS_PYTHON}.*")
    assert _define("python").specs == (f"python {THIS_PYTHON}.*",)
    assert _define("conda-forge::python=3.12").specs[-1] == "python 3.12.*"


def test_two_versions_of_python_contradict_each_other() -> None:
    """The error quotes the package."""
    with pytest.raises(OptionError, match=r"'python=3\.12' for another"):
        _define("python=3.11", "python=3.12")


@pytest.mark.parametrize(
    ("package", "says"),
    [
        ("python=2.7", "Python 2.7, and a worker needs"),
        ("python>=3.99", "leaves out Python 3"),
        ("conda-forge::python <3.10", "leaves out Python 3"),
        ("num\0py", "characters that no package has"),
    ],
)
def test_packages_that_no_environment_can_have_are_refused(package: str, says: str) -> None:
    """Where a package is written, and not once it is solved for."""
    with pytest.raises(OptionError, match=says):
        _define(package)
    assert _define("python >=3.10,!=3.10.1,<4").python_version is None


def test_secrets_are_no_part_of_what_is_public() -> None:
    """Channels lose their credentials where they are shown or compared."""
    definition = _define(channels=("https://me:hunter2@host/c",))
    assert definition.public_channels == ("https://host/c/",)
    assert definition.credentials == (Credentials("host", "me", "hunter2"),)
    assert "hunter2" not in repr(definition)


def test_credentials_of_packages_count_as_those_of_channels() -> None:
    """They are no part of what is solved for, and contradict those of the same host."""
    package = "https://me:hunter2@host/c::tool[version='>=2']"
    definition = _define(package, "https://other/t/tk-1/d/noarch/a-1-0.conda#sha")
    assert definition.specs[:2] == (
        "https://host/c::tool[version='>=2']",
        "https://other/d/noarch/a-1-0.conda#sha",
    )
    assert definition.credentials == (
        Credentials("host", "me", "hunter2"),
        Credentials("other", "", "tk-1"),
    )
    with pytest.raises(OptionError, match="different credentials") as caught:
        _define(package, channels=("https://me:one-secret@host/c",))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "package",
    [
        *("main::a", "main/linux-64::a", "pkgs/r::a", "a[channel=defaults]"),
        *("a[version='>=1', channel='pkgs/main']", "https://repo.anaconda.com/pkgs/main::a"),
        "https://repo.anaconda.com/pkgs/main/linux-64/a-1.0-0.conda",
        "https://conda.anaconda.org/main/linux-64/a-1.0-0.conda",
        "a[url=https://repo.anaconda.com/pkgs/main/linux-64/a-1.0-0.conda]",
    ],
)
def test_packages_are_of_no_channel_of_anaconda(package: str) -> None:
    """However a package says where it comes from."""
    with pytest.raises(OptionError, match="is Anaconda's"):
        _define(package)
    assert _define("conda-forge::a", "a[channel=bioconda]").packages
