"""Requests of the method ``Run``."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from fal_core import function
from fal_core.calls import Call
from fal_core_worker.opening.values import open_arguments
from fal_host_serverless import FalServerlessHost
from fal_host_serverless.account.credentials import find_credentials
from fal_host_serverless.running.run_requests import (
    metadata_request,
    run_request,
    with_ports,
)
from fal_host_serverless.wire.requests import UploadedFile, UploadedInputs
from fal_host_serverless.wire.services import Service


def call_of(**options: Any) -> Call:
    """Return a call of a function with these options."""

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"), **options)
    def answer() -> int:
        return 1

    return answer.make_launcher().call(((), {}))


@pytest.fixture
def service() -> Service:
    """The stage of a service, which nothing is sent to."""
    return Service(address="127.0.0.1:1", credentials=find_credentials(), stage="staging")


def test_request_names_the_function_and_its_stage(service: Service):
    """A function is public on its stage, and its pickle and files travel with it."""
    inputs = UploadedInputs(files=(UploadedFile("h", "data/words.txt"),))
    request = run_request(service, call_of(), inputs)
    assert (request.application_name, request.environment_name) == (
        "answer--staging",
        "staging",
    )
    told = MessageToDict(request)
    assert told["authMode"] == "PUBLIC"
    assert told["files"] == [{"hash": "h", "relativePath": "data/words.txt"}]
    assert request.WhichOneof("callable") == "function"
    assert request.function.method == "cloudpickle"


def test_lean_request_leaves_out_archives(service: Service):
    """A request for a runner that has the archives is smaller."""
    call = call_of()
    sizes = [
        len(run_request(service, call, UploadedInputs(), lean=lean).function.definition)
        for lean in (True, False)
    ]
    assert 2 * sizes[0] < sizes[1]


def test_entry_point_is_asked_in_the_environment_that_is_there(service: Service):
    """The environment has just been built: nothing is forced or built again, and no code is sent."""
    call = call_of(force_env_build=True)
    forced = MessageToDict(run_request(service, call, UploadedInputs()).environments[0])
    assert forced["force"] is True
    request = metadata_request(service, call, UploadedInputs(), "shop:App.build_metadata")
    assert request.WhichOneof("callable") == "entrypoint"
    assert request.entrypoint == "shop:App.build_metadata"
    assert request.HasField("build_environment")
    assert not request.build_environment
    assert not request.environments[0].force


def test_only_a_service_has_ports():
    """A served function listens at the ports of the service, and other calls stay as they are."""
    plain = call_of()
    assert with_ports(plain) is plain
    for options, ports in (({}, (8080, 9090)), ({"metrics_port": 9191}, (8080, 9191))):
        served = with_ports(call_of(serve=True, **options))
        names = dict(zip(("exposed_port", "exposed_metrics_port"), ports, strict=True))
        assert open_arguments(served.arguments, None) == ((), names)
