"""
What makes one environment another.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fal_env_virtualenv import Virtualenv

if TYPE_CHECKING:
    from conftest import Project


@pytest.mark.usefixtures("cache")
class TestKeys:
    def test_equal_declarations_have_equal_keys(self) -> None:
        """
        The key is a function of the declaration, in layers.
        """
        key = Virtualenv(requirements=["six"]).key
        assert key == Virtualenv(requirements=[["six"]]).key
        assert key == Virtualenv(requirements=["six"], resolver="pip", force=True).key

    def test_whatever_changes_the_environment_changes_the_key(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Declaration, Python, constraints, tags and index are in the key.
        """
        constraints = tmp_path / "constraints.txt"
        constraints.write_text("six<2\n")
        declared = [
            Virtualenv(),
            Virtualenv(requirements=["six"]),
            Virtualenv(requirements=["six", "idna"]),
            Virtualenv(requirements=[["six"], ["idna"]]),
            Virtualenv(requirements=["six"], compile_bytecode=True),
            Virtualenv(requirements=["six"], tags=["mine"]),
            Virtualenv(requirements=["six"], constraints_file=constraints),
            Virtualenv(requirements=["six"], extra_index_urls=["https://host/simple"]),
        ]
        keys = [environment.key for environment in declared]
        constraints.write_text("six<1.17\n")
        keys.append(declared[6].key)
        monkeypatch.setenv("UV_DEFAULT_INDEX", "https://host/simple")
        keys.append(declared[1].key)
        assert len(set(keys)) == len(keys)

    def test_credentials_are_not_in_the_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A new password asks for no new environment.
        """
        keys = set()
        for password in ("one", "two"):
            monkeypatch.setenv("UV_DEFAULT_INDEX", f"https://me:{password}@host/simple")
            monkeypatch.setenv("UV_INDEX", f"https://{password}@other/simple")
            environment = Virtualenv(
                requirements=[f"tool @ git+https://me:{password}@host/tool.git"],
                extra_index_urls=[f"https://me:{password}@third/simple"],
            )
            keys.add(environment.key)
        assert len(keys) == 1

    def test_pip_names_the_index_where_uv_does_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The variables of pip count unless one of uv names an index.
        """
        monkeypatch.delenv("UV_NO_INDEX")
        environment = Virtualenv(requirements=["six"])
        plain = environment.key
        monkeypatch.setenv("PIP_INDEX_URL", "https://host/simple")
        by_pip = environment.key
        monkeypatch.setenv("UV_DEFAULT_INDEX", "https://other/simple")
        assert len({plain, by_pip, environment.key}) == 3

    def test_changed_local_project_changes_the_key(self, project: Project) -> None:
        """
        The sources of a local project count, those of an editable one do not.
        """
        installed = Virtualenv(requirements=[str(project.path)])
        editable = Virtualenv(requirements=[f"-e {project.path}"])
        keys = installed.key, editable.key
        assert keys == (installed.key, editable.key)
        project.write("value = 20\n")
        assert installed.key != keys[0]
        assert editable.key == keys[1]
        with (project.path / "pyproject.toml").open("a") as stream:
            stream.write("# changed\n")
        assert editable.key != keys[1]

    def test_edited_sources_change_the_stamp(self, project: Project) -> None:
        """
        What a program imports counts, editable or not, and nothing else beside it.
        """
        assert Virtualenv(requirements=["six"]).stamp() is None
        for entry in (str(project.path), f"-e {project.path}"):
            environment = Virtualenv(requirements=[entry])
            stamp = environment.stamp()
            (project.path / "results.json").write_text(entry)
            assert environment.stamp() == stamp
            project.write(f"value = {entry!r}\n")
            assert environment.stamp() != stamp

    def test_what_a_requirements_file_refers_to_counts(
        self, tmp_path: Path, project: Project
    ) -> None:
        """
        A file changes the key through the files and projects that it names.
        """
        top, nested = tmp_path / "top.txt", tmp_path / "nested.txt"
        top.write_text("-r nested.txt\n./demo\n")
        nested.write_text("six\n")
        environment = Virtualenv(requirements=[str(top)])
        keys = {environment.key}
        nested.write_text("six<2\n")
        keys.add(environment.key)
        project.write("value = 21\n")
        keys.add(environment.key)
        assert len(keys) == 3

    def test_key_costs_little(self) -> None:
        """
        A key is cheap: a host asks for it at each call.
        """
        environment = Virtualenv(requirements=["six", "idna>=3", "iniconfig"])
        environment.key  # noqa: B018  # it is worked out when asked for
        costs = []
        for _ in range(50):
            # Not that of the clock: others may run meanwhile.
            started = time.thread_time()
            environment.key  # noqa: B018  # it is worked out when asked for
            costs.append(time.thread_time() - started)
        assert sorted(costs)[25] < 0.001


def test_key_starts_no_process_and_imports_little() -> None:
    """
    What a new process needs to find a built environment is light.
    """
    script = (
        "import sys, attrs, fal_core.environments\n"
        "before = set(sys.modules)\n"
        "from fal_env_virtualenv import Virtualenv\n"
        "environment = Virtualenv(requirements=['six'])\n"
        "environment.key, environment.is_built()\n"
        "heavy = {'subprocess', 'shutil', 'tempfile', 'click', 'asyncio', 'selectors',"
        " 'importlib.metadata', 'pathlib', 'urllib', 'uv', 'cattrs'}\n"
        "print(sorted(heavy & set(sys.modules) - before))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "[]"
