"""What an ``environment.yml`` may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.errors import OptionError
from fal_env_conda.declaring.environment_files import EnvironmentFile, load, parse, read_file

_FILE = """
name: work
channels: [conda-forge, ./mine, nodefaults]
dependencies:
  - python=3.12
  - numpy>=2
  - pip:
      - six
      - -r more.txt
      - ./project
variables:
  GREETING: good day
  COUNT: 3
prefix: /opt/work
"""


def test_all_parts_of_a_file_are_read(tmp_path: Path) -> None:
    """Channels, packages, pip requirements and variables count; paths are those of the file."""
    path = tmp_path / "environment.yml"
    path.write_text(_FILE)
    assert read_file(path) == EnvironmentFile(
        channels=("conda-forge", f"{tmp_path}/./mine", "nodefaults"),
        packages=("python=3.12", "numpy>=2"),
        pip=("six", f"-r {tmp_path}/more.txt", f"{tmp_path}/project"),
        variables=(("COUNT", "3"), ("GREETING", "good day")),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dependecies: []", "unknown key 'dependecies'. Did you mean 'dependencies'?"),
        ("dependencies: numpy", "must be a list"),
        ("dependencies: [{conda: [numpy]}]", "a list of requirements below 'pip:'"),
        ("dependencies: [{pip: [1]}]", "must be a list of str"),
        ("channels: [1]", "must be a list of str"),
        ("variables: [A]", "must be a mapping"),
        ("variables: {A: true}", "quote it"),
        ("variables: {A B: x}", "names no variable"),
        ('variables: {A: "a\\0b"}', "a NUL, which none may have"),
        ("variables: {PATH: /bin}", "'PATH' in 'variables'"),
        ("channels: [a]\n[", "is not YAML in line 2: "),
        ("a: 1\n---\nb: 2", "is not YAML in line 2: but found another document"),
        ("!!python/object/apply:os.getcwd []", "is not YAML in line 1: could not determine"),
        ("channels: [a]\nchannels: [b]", "the key 'channels' twice, in lines 1 and 2"),
        ("dependencies:\n- pip: [a]\n  pip: [b]", "the key 'pip' twice, in lines 2 and 3"),
        ("just words", "is no environment file"),
    ],
)
def test_what_is_no_environment_file_is_refused(text: str, says: str) -> None:
    """The error names the place in the file, and what would be right."""
    with pytest.raises(OptionError, match=says):
        parse(load(text, where="It"), where="It")


def test_files_that_grow_as_they_are_read_are_refused() -> None:
    """
    Aliases of aliases, aliases of themselves and lists without end take neither long nor a
    traceback: the file may be a client's.
    """
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    for text in ("\n".join(lines), "a: &a [*a]"):
        with pytest.raises(OptionError, match="It has more than 100000 entries"):
            load(text, where="It")
    with pytest.raises(OptionError, match="It has lists in lists without end"):
        load("[" * 20_000, where="It")
