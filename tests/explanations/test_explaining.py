"""Explaining: what a host would do with a function, without doing it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from explained_functions import explain, uses


def test_explanation_says_how_each_module_travels(explaining: Any) -> None:
    """The explanation says of each module whether it travels by value, as source or by reference."""
    (explanation,) = explain(explaining, "ready")
    travels = {each["module"]: each["how"] for each in explanation["travels"]}
    assert travels == {"functions": "value", "sibling": "source", "json": "reference"}


def test_reasons_why_it_does_not_run(explaining: Any) -> None:
    """Each reason why a host would not run the function is a sentence."""
    (explanation,) = explain(explaining, "count", "--on", "little")
    assert not explanation["runs"]
    stream, python = sorted(explanation["reasons"], key=lambda reason: "Python" in reason)
    assert stream == "Host 'little' cannot stream what a generator yields. Return a list."
    assert python.endswith("It runs 2.7.")
    (explanation,) = explain(explaining, "ready", "--on", "little")
    assert (
        "Host 'little' cannot run kind 'virtualenv'. It runs current."
        in (explanation["reasons"])
    )
    (explanation,) = explain(explaining, "insisting", "--on", "local")
    assert any("'min_words'" in reason for reason in explanation["reasons"])
    (explanation,) = explain(explaining, "refers_to_a_thread")
    assert not explanation["runs"]
    assert "thread" in " ".join(explanation["reasons"])


def test_a_captured_lock_is_a_reason(explaining: Any) -> None:
    """A function that refers to a lock does not run: the reason names its variable."""
    (explanation,) = explain(explaining, "refers_to_a_lock")
    assert not explanation["runs"]
    assert "because of global 'lock': a lock" in " ".join(explanation["reasons"])


def test_explanation_has_the_environment_for_serving(explaining: Any) -> None:
    """The explanation of a served function shows the environment that it is served in."""
    pytest.importorskip("fal_serve")
    (served,) = explain(explaining, "served")
    (plain,) = explain(explaining, "ready")
    assert served["runs"]
    assert uses(served)["serve"] == "applies"
    assert served["notes"][0].startswith("Serving adds to its environment: fastapi")
    assert "six" not in served["notes"][0]
    assert served["key"] != plain["key"]
    assert "Serving adds" not in str(plain["notes"])


def test_explanation_says_what_workers_inherit(explaining: Any) -> None:
    """
    The explanation says that workers do not follow the variables and the directory of the
    caller, on hosts whose workers have them at all.
    """
    (local,) = explain(explaining, "ready", "--on", "local")
    assert "the environment variables and the directory" in local["workers"]
    (little,) = explain(explaining, "ready", "--on", "little")
    assert little["workers"] == ""


def test_hosts_that_cannot_serve_say_so(explaining: Any) -> None:
    """A function is not served where nothing is; a port of its own is kept for other hosts."""
    (here,) = explain(explaining, "serves_itself")
    assert here["runs"]
    (little,) = explain(explaining, "served", "--on", "little")
    assert not little["runs"]
    assert "Host 'little' cannot serve functions." in little["reasons"]
    (little,) = explain(explaining, "serves_itself", "--on", "little")
    assert "serve" not in " ".join(little["reasons"])
    assert uses(little)["exposed_port"] == "kept"


def test_environment_is_built_once_it_was_used(explaining: Any) -> None:
    """The key names the environment, and the explanation says whether it is built."""
    (before,) = explain(explaining, "ready")
    assert (before["runs"], before["built"]) == (True, False)
    assert before["key"]
    done = explaining("run", "functions.py::ready", "hi")
    assert done.returncode == 0, done.stderr
    (after,) = explain(explaining, "ready")
    assert (after["key"], after["built"]) == (before["key"], True)


def test_packages_that_others_bring_are_not_noted(explaining: Any) -> None:
    """A package that a requirement brings is not missing; one that nothing brings is."""
    explaining.write(
        "brought.py",
        """
        import attrs, click, pluggy
        from fal_core import function

        def use(): return attrs, click

        brought = function("virtualenv", requirements=["cattrs", "click"])(use)
        missing = function("virtualenv", requirements=["cattrs"])(use)
        unknown = function("virtualenv", requirements=["absent-thing"])(use)
        """,
    )
    notes = [explain_file(explaining, name)["notes"] for name in ("brought", "missing")]
    assert notes == [[], ["It uses click, and no requirement names the package 'click'."]]
    assert sorted(explain_file(explaining, "unknown")["notes"]) == [
        "It uses attrs, and no requirement names the package 'attrs'. One that is not "
        "installed here may bring it.",
        "It uses click, and no requirement names the package 'click'. One that is not "
        "installed here may bring it.",
    ]


def test_packages_that_serving_brings_are_not_noted(explaining: Any) -> None:
    """What a served function uses and the server requires in turn is not missing."""
    pytest.importorskip("fal_serve")
    explaining.write(
        "brought.py",
        """
        import pydantic
        from fal_core import function

        @function("virtualenv", serve=True)
        def served() -> dict: return {"version": pydantic.VERSION}
        """,
    )
    (note,) = explain_file(explaining, "served")["notes"]
    assert note.startswith("Serving adds to its environment")


def explain_file(explaining: Any, name: str) -> Any:
    """Return the explanation of a function of ``brought.py``."""
    done = explaining("explain", f"brought.py::{name}", "--json")
    assert done.returncode == 0, done.stderr
    (explanation,) = json.loads(done.stdout)
    return explanation
