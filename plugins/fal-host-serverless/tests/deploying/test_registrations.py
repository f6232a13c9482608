"""Registrations, and functions that cannot be registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import isolate_proto
import pytest
from google.protobuf.json_format import MessageToDict

from fal_core import function
from fal_core.errors import OptionError
from fal_host_serverless import FalServerlessHost, SyncServerlessClient
from fal_host_serverless.wire import channels


def test_served_function_is_registered_with_its_document(
    asking: SyncServerlessClient, recorder: Any
):
    """
    A revision carries its OpenAPI document even without a file; metadata that is passed
    replaces it.
    """

    @function(host=asking.make_host(), serve=True)
    def double(number: int) -> int:
        return 2 * number

    for func in (double, double.func):
        double.host.register(func, double.options, deployment_strategy="rolling")
        metadata = MessageToDict(recorder.last("RegisterApplication").metadata)
        assert list(metadata["openapi"]["paths"]) == ["/"]
    double.host.register(
        double.func,
        double.options,
        deployment_strategy="rolling",
        metadata={"openapi": {"own": True}, "message": "m"},
        attach_to_deployment=True,
    )
    request = recorder.last("RegisterApplication")
    assert MessageToDict(request.metadata) == {"openapi": {"own": True}, "message": "m"}
    assert request.attach_to_deployment


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("def add(a, b=1): ...", r"'add'.*a required argument: 'a'.*'serve=True'"),
        ("async def add(*, b): ...", r"'add'.*'b'.*'serve=True'"),
        ("def add(): ...", None),
        ("def add(a=1, *b, **c): ...", None),
    ],
)
def test_function_with_arguments_is_not_deployed(
    declared: str, words: str | None, asking: SyncServerlessClient, recorder: Any, project: Path
):
    """A function that is not served, and needs arguments, is refused before a request is sent."""
    source = f'from fal_core import function\n\n@function("virtualenv")\n{declared}\n'
    (project / "searching.py").write_text(source)
    if words is None:
        assert asking.deploy("searching.py::add").app_name == "add"
    else:
        with pytest.raises(OptionError, match=words):
            asking.deploy("searching.py::add")
        assert recorder.asked == []


def test_function_gets_the_result_of_its_setup(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """The first argument of a deployed function is the result of its setup function."""
    (project / "searching.py").write_text(
        "from fal_core import function\n\ndef load(): ...\n\n"
        "@function('virtualenv', setup_function=load)\ndef one(model): ...\n\n"
        "@function('virtualenv', setup_function=load)\ndef none(): ...\n"
    )
    assert asking.deploy("searching.py::one").app_name == "one"
    with pytest.raises(OptionError, match="'none' cannot be deployed: too many"):
        asking.deploy("searching.py::none")


def test_deployed_function_serves_in_a_stock_agent(host: Any, recorder: Any, address: str):
    """The pickle of a registration runs in a stock agent, and answers requests there."""
    import httpx

    @function("virtualenv", host=FalServerlessHost(recorder.address), serve=True)
    def double(number: int) -> int:
        print("doubling")
        return 2 * number

    deploying = FalServerlessHost(recorder.address)
    deploying.register(double, double.options, deployment_strategy="rolling")
    registered = recorder.last("RegisterApplication")
    request = isolate_proto.HostedRun(
        environments=registered.environments,
        machine_requirements=registered.machine_requirements,
        function=registered.function,
    )
    run = channels.stub(address).Run(request)
    try:
        url = next(each.service_urls.run for each in run if each.HasField("service_urls"))
        assert httpx.post(url, params={"number": 4}, timeout=30).json() == 8
    finally:
        run.cancel()
