"""
Deployments with the released command line: what it is told, and how it ends.
"""

from __future__ import annotations

import textwrap

import pytest

APP = """
import fal

class Served(fal.App):
    def setup(self):
        {setup}

    @fal.endpoint("/")
    def echo(self) -> dict:
        return {{"release": self.release}}
"""


@pytest.fixture(scope="module")
def deploy(applied):
    """
    Deploy the application with a *setup* under a name, and return what is printed.
    """

    def run(name: str, setup: str, *arguments: str, check: bool = True) -> str:
        file = applied.data.parent / f"{name}.py"
        file.write_text(textwrap.dedent(APP.format(setup=setup)))
        target = (f"{file}::Served", "--app-name", name)
        return str(applied.fal("deploy", *target, *arguments, check=check))

    return run


def test_unchanged_application_is_no_change(deploy):
    """
    ``fal deploy --check`` sees no difference in an application that is deployed again.
    """
    deploy("unchanged", "self.release = 1")
    told = deploy("unchanged", "self.release = 1", "--check", "--yes")
    assert "No production-facing config changes detected." in told
