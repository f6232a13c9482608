"""
What is installed from wheels, as the first pages of the documentation say.

``python3 dev.py follow`` follows the how-tos too, and prints the times of all steps.
"""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

for name in ("fal_server", "fal_serve", "fal_host_serverless", "fal_env_conda"):
    pytest.importorskip(name)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from follow.following import first_result, follow  # noqa: E402  # the path comes first
from follow.pages import ROOT, Page, read_page  # noqa: E402  # the path comes first
from follow.terminals import Terminal  # noqa: E402  # the path comes first
from house.wheels import find_uv  # noqa: E402  # the path comes first

sys.path.pop(0)

#: A newer Python, whose wheels are as much tried as those of this one.
NEWER = "python3.15"


def find_newer() -> str | None:
    """Return the newer Python: that of the path, or one that was unpacked in the clone."""
    unpacked = ROOT / ".tox/pythons" / NEWER.removeprefix("python") / "usr/bin" / NEWER
    return shutil.which(NEWER) or (str(unpacked) if unpacked.is_file() else None)


@pytest.fixture(params=[sys.executable, NEWER], ids=["this Python", NEWER])
def python(request: pytest.FixtureRequest) -> str:
    """This Python, and a newer one."""
    if request.param != NEWER:
        return sys.executable
    found = find_newer()
    if found is None:
        pytest.skip(f"{NEWER} is neither on the path nor in .tox/pythons.")
    return found


def make_terminal(wheels: Path, folder: Path, python: str) -> Terminal:
    """Return a terminal whose installers find the wheels as on an index."""
    return Terminal(folder / "terminal", wheels, python, published=True)


def test_packages_of_wheels_are_typed(wheels: Path):
    """Every package of every wheel says that it has types."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            files = archive.namelist()
        packages = {each.split("/")[0] for each in files if each.endswith("/__init__.py")}
        assert packages
        assert not [each for each in packages if f"{each}/py.typed" not in files], wheel.name


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "newer"), [("docs/tutorial.md", False), ("README.md", True)], ids=str
)
def test_page_is_followed(name: str, newer: bool, wheels: Path, tmp_path: Path):
    """Each step of the page does what the page shows, with the extras that it names."""
    python = (find_newer() if newer else None) or sys.executable
    page, place = read_page(name), tmp_path / "page"
    steps = list(follow(page, wheels, python, place, building=0.0, quick=True))
    assert [step for step in steps if step.wrong] == []
    taken = [step for step in steps if step.seconds is not None]
    assert first_result(taken)[1][-1].shows
    assert {each.line for each in page.blocks if each.is_program} <= {
        step.line for step in taken
    }


def test_nothing_of_the_tests_is_installed_with_all(python: str, wheels: Path, tmp_path: Path):
    """The extra with everything brings no tool for tests, and nothing that does not fit together."""
    terminal = make_terminal(wheels, tmp_path, python)
    assert terminal.type(f"{find_uv()} pip install 'fal-core[all]'").code == 0
    names = terminal.type("uv pip check --quiet && uv pip freeze").output.lower()
    assert "fal-server==" in names
    assert not re.search(r"^(pytest|hypothesis)==", names, re.MULTILINE)
    assert "broken" not in terminal.type("fal-core plugins list").output


def test_hints_lead_to_what_is_missing(wheels: Path, tmp_path: Path):
    """
    Where a plugin is missing, the error has the command that installs it, and with that the
    next attempt works.
    """
    terminal = make_terminal(wheels, tmp_path, sys.executable)
    uv = find_uv()
    assert terminal.type(f"{uv} pip install fal-core").code == 0
    installed = []
    for command in (
        "fal-core run examples/first_call.py::describe 3000000",
        "fal-core explain examples/service.py",
        "fal-core machines list",
    ):
        while (done := terminal.type(command)).code:
            (hint,) = re.findall(r"`(pip install 'fal-core\[\w+\]')`", done.errors)
            assert hint not in installed
            installed.append(hint)
            assert terminal.type(f"{uv} {hint}").code == 0
    extras = re.findall(r"\[(\w+)\]", " ".join(installed))
    assert extras == ["local", "serve", "machines"]


GOOD = """\
## Begin

<!-- not followed: it needs a GPU -->
```console
false
```

The file is `greeting.py`:

```py
def greet(name):
    return f"hello {name}"
```

```python
from greeting import greet

print(greet("you"))
# hello …
```

```console
$ export NAME=them
$ mkdir below
$ cd below
```

```python
import os

assert not os.getcwd().endswith("below")
```

```console
echo "$NAME, $(basename "$PWD")"
# them, below
printf '%s\\n' 1 2 3 \\
    4
# 1
# …
# 4
```

```console
sudo true
```

<!-- not followed: it needs a cluster -->

## Elsewhere

```console
false
```

### And there

```python
1 / 0
```
"""


def follow_text(text: str, wheels: Path, folder: Path):
    """Return the steps of a page with *text*."""
    page = Page.of("page.md", text)
    return list(follow(page, wheels, sys.executable, folder / "page", building=0.0))


def test_page_is_read_as_its_reader_reads_it(wheels: Path, tmp_path: Path):
    """
    Files are saved under their names, the terminal keeps its directory and variables, and
    the program goes on where its last block has ended.
    """
    steps = follow_text(GOOD, wheels, tmp_path)
    assert [step for step in steps if step.wrong] == []
    taken = [step for step in steps if step.seconds is not None]
    assert [step.shows for step in taken[-2:]] == [True, True]
    left_out = [step.reason for step in steps if step not in taken]
    cluster = "it needs a cluster"
    assert left_out == ["it needs a GPU", "it changes this machine", cluster, cluster]


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("# them, below", "# them, above", "Wanted: them, above\nGot: them, below"),
        ("# hello …\n", "", "Wanted: nothing\nGot: hello you"),
        ("# hello …", "# hello, …", "Wanted: hello, …\nGot: hello you"),
        ("# 4\n", "", "Got: 1\n2\n3\n4"),
        ("$ mkdir below", "$ mkdir below/it", "Exit code 1"),
        ("import os\n", "import os\n\n1 / 0\n", "ZeroDivisionError"),
        ("import os\n", "raise SystemExit\n", "ended before its last block"),
        ("# them, below", "# them, below\necho 'UserWarning: x' >&2", "Got: UserWarning: x"),
        ("The file is `greeting.py`:", "", "which file this is"),
    ],
)
def test_difference_is_told(right: str, wrong: str, said: str, wheels: Path, tmp_path: Path):
    """
    Output that the page does not show, a command that fails, and code that is in no file
    end the page, with what was wanted and what came.
    """
    assert right in GOOD
    # The last command shows less than it prints where its last line is missing.
    text = GOOD.replace(right, wrong).replace("# …\n```", "# 3\n```")
    text += "\n## End\n\n```python\nassert True\n```\n"
    steps = follow_text(text, wheels, tmp_path)
    assert said in next(step.wrong for step in steps if step.wrong)
