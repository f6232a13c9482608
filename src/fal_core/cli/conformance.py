"""
The conformance laws, run against an installed host.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Sequence

import click

_TEST = """\
import pytest

from fal_core.plugins.installed import find_host
from fal_core.testing.suite import *


@pytest.fixture(scope="session")
def host():
    host = find_host({host!r})
    yield host
    host.close()
"""


def check_host(host: str, arguments: Sequence[str] = ()) -> int:
    """
    Run the laws for what *host* declares; return 0 where it keeps them, and 1 where not.

    Arguments:
        host: The name or the URL of an installed host.

        arguments: Further arguments of pytest.

    Raises:
        ClickException: The laws cannot be run.
    """
    if importlib.util.find_spec("pytest") is None:
        raise click.ClickException(
            "The conformance laws are run by pytest, which is not installed: add the "
            "extra 'testing' of fal-core. In a clone of it: "
            "pip install -e '.[testing]'"
        )
    import pytest

    with tempfile.TemporaryDirectory(prefix="fal-core-check-") as folder:
        path = os.path.join(folder, "test_conformance.py")
        configuration = os.path.join(folder, "pytest.ini")
        with open(path, "w", encoding="utf-8") as file:
            file.write(_TEST.format(host=host))
        # Laws may carry marks of the suite, which any project's own file would refuse.
        with open(configuration, "w", encoding="utf-8") as file:
            file.write("[pytest]\n")
        own = [path, "-c", configuration, f"--rootdir={folder}", "-p", "no:cacheprovider"]
        code = pytest.main([*own, "--import-mode=importlib", *arguments])
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise click.ClickException("No law was chosen by the arguments that pytest was given.")
    return 0 if code == pytest.ExitCode.OK else 1
