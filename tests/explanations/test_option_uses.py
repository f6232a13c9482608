"""Option uses: what a host does with each option of a function."""

from __future__ import annotations

import json
from typing import Any

import pytest
from explained_functions import explain, uses


def test_options_apply_are_kept_or_ignored(explaining: Any) -> None:
    """An option applies, is kept for an installed host, or is ignored by all of them."""
    (on_little,) = explain(explaining, "wordy", "--on", "little")
    assert uses(on_little) == {"kind": "applies", "min_words": "kept"}
    assert on_little["options"][1]["why"] == "for wordy."
    (on_wordy,) = explain(explaining, "wordy", "--on", "wordy")
    assert uses(on_wordy) == {"kind": "applies", "min_words": "applies"}
    (on_wordy,) = explain(explaining, "ready", "--on", "wordy")
    assert uses(on_wordy)["keep_alive"] == "kept"
    assert uses(on_wordy)["retries"] == uses(on_wordy)["requirements"] == "applies"


def test_option_that_no_host_acts_on_is_ignored(explaining: Any) -> None:
    """An option that is known, and that no installed host acts on, is said to be ignored."""
    explaining.variables["FAL_CORE_PLUGINS_DENY"] = "local,serverless"
    explaining.write(
        "alone.py",
        """
        from fal_core import function

        @function("current", host="little", regions=["eu"])
        def f(): ...
        """,
    )
    done = explaining("explain", "alone.py", "--json")
    assert done.returncode == 0, done.stderr
    assert uses(json.loads(done.stdout)[0]) == {"kind": "applies", "regions": "ignored"}


def test_credentials_are_not_shown(explaining: Any) -> None:
    """Values that a plugin hides in its options are hidden here too."""
    done = explaining("explain", "functions.py::private")
    assert "index.test" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_options_of_another_kind_are_kept(explaining: Any) -> None:
    """Options of the kind that a function had before are said to be kept for it."""
    pytest.importorskip("fal_env_virtualenv")
    # Containers have requirements too.
    explaining.variables["FAL_CORE_PLUGINS_DENY"] = "serverless,container"
    explaining.write(
        "moved.py",
        """
        from fal_core import function

        @function("virtualenv", requirements=["tool @ https://me:secret@example.org/tool.whl"])
        def f(): ...

        here = f.on(kind="current")
        """,
    )
    done = explaining("explain", "moved.py::here", "--json")
    assert done.returncode == 0, done.stderr
    (explanation,) = json.loads(done.stdout)
    assert explanation["runs"]
    assert uses(explanation) == {"kind": "applies", "requirements": "kept"}
    assert explanation["options"][1]["why"] == "for kind 'virtualenv'."
    assert "secret" not in done.stdout
