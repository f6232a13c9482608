"""Applications as isolated functions."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core import OptionError, ServedIsolatedFunction
from fal_core.explanations import explain
from fal_core.hooks import hookimpl
from fal_core.machines import Machine, UnknownMachineError
from fal_core.plugins import registered
from fal_serve import App
from fal_serve.declaring.settings import ServiceSettings
from fal_testing.hosts.in_process import InProcessHost


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"keep_alve": 1}, "Unknown option 'keep_alve'. Did you mean 'keep_alive'?"),
        ({"max_concurrency": "2"}, "Option 'max_concurrency' must be an integer"),
        ({"requirements": "numpy"}, "Option 'requirements' must be"),
        ({"kind": "nonsense"}, "No kind of environment is called 'nonsense'"),
        ({"kind": "current", "requirements": ["numpy"]}, "Option 'requirements' belongs to"),
        ({"app_auth": "secret"}, "Option 'app_auth' must be"),
        ({"name": 3}, "Option 'app_name' must be"),
        ({"local_python_modules": "models"}, "Option 'local_python_modules' must be"),
    ],
)
def test_wrong_options_are_refused_where_the_class_is_defined(
    keywords: dict[str, Any], sentence: str
):
    """Options are checked by the class statement, with the messages of the core."""
    with pytest.raises(OptionError) as caught:

        class Wrong(App, **keywords):
            pass

    assert str(caught.value).startswith(sentence)


def test_application_is_an_isolated_function(derived: type[App]):
    """to_function returns an isolated function, and takes options that override the class's."""
    function = derived.to_function(machine_type="L")
    assert isinstance(function, ServedIsolatedFunction)
    assert function.app_name == "derived"
    assert function.options.gateway == {"serve": True}
    assert function.options.get_exposed_port() == 8080
    assert function.options.host["machine_type"] == "L"
    assert derived.host_kwargs["machine_type"] == "M"

    again = function.on(InProcessHost(), request_timeout=1)
    assert again.options.host["request_timeout"] == 1
    assert again.func._settings == ServiceSettings(
        request_timeout=1, startup_timeout=7, max_multiplexing=2
    )


def test_explanation_of_an_application(derived: type[App]):
    """An application can be explained like any function."""
    explanation = explain(derived.to_function(kind="virtualenv"))
    assert explanation.function == "Derived"
    assert explanation.runs, explanation.reasons
    # The environment is given what serving needs, and what serves travels along.
    assert not [note for note in explanation.notes if "no requirement names" in note]
    rows = [each for each in explanation.travels if each.module.startswith("fal_serve")]
    assert [(each.module, each.how) for each in rows] == [("fal_serve", "source")]


def test_an_unknown_machine_type_is_refused_for_the_host():
    """
    A class may name a machine type that only its service knows; on a host that has none of
    its own, a type that nobody knows is refused with a suggestion.
    """

    class Service(InProcessHost):
        capabilities = attrs.evolve(InProcessHost.capabilities, own_machines=True)

    class Large(App):
        machine_type = "GPU-H1000"

    with registered(Catalogue()):
        assert Large.to_function(Service()).options.host["machine_type"] == "GPU-H1000"
        with pytest.raises(UnknownMachineError, match="Did you mean 'GPU-H100'"):
            Large.to_function(InProcessHost())


class Catalogue:
    """A plugin that knows one machine type."""

    fal_core_api = 1

    @hookimpl
    def fal_list_machines(self) -> list[Machine]:
        return [Machine(name="GPU-H100")]


def test_file_of_the_class_says_what_it_requires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """SCRIPT stands for the block of the file that the class is written in."""
    path = tmp_path / "scripted_application.py"
    path.write_text(
        '# /// script\n# dependencies = ["six"]\n# ///\n'
        "from fal_core import SCRIPT\nfrom fal_serve import App\n\n\n"
        "class Scripted(App):\n    requirements = [SCRIPT]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    application = importlib.import_module("scripted_application").Scripted
    declared = application.to_function(InProcessHost()).options.environment
    assert str(path) in declared["requirements"]
