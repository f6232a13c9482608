"""
Calls of endpoints: from arguments to a request, and from a response to a value.

It needs httpx and FastAPI, and is only imported by clients.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import params
from fastapi.encoders import jsonable_encoder
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering.adapters import is_generator, item_type
from fal_serve.client.credentials import explain_missing_key
from fal_serve.declaring.paths import fill_path
from fal_serve.declaring.signatures import signature_of
from fal_serve.exceptions import AppClientError

if TYPE_CHECKING:
    from fal_serve.apps import App


@dataclass(frozen=True)
class RequestField:
    """
    The place of an argument in a request.

    Attributes:
        place: ``path``, ``query``, ``header``, ``cookie``, ``body``, ``form`` or ``file``.

        alias: Its name there.
    """

    place: str
    alias: str


@dataclass(frozen=True)
class EndpointCall:
    """
    The description of one endpoint for a client.

    Attributes:
        embedded: Whether the body is an object of the arguments, and not the only argument
            itself.

        output: Validates the JSON of a response; None if it is not JSON.

        streams: Whether the response is a stream of items.
    """

    name: str
    path: str
    signature: inspect.Signature
    fields: Mapping[str, RequestField]
    embedded: bool
    output: TypeAdapter[Any] | None
    streams: bool

    def request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """
        Return the keyword arguments of httpx for a request.

        Raises:
            TypeError: The arguments do not match the endpoint's signature.
        """
        try:
            given = self.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self.name}{self.signature}: {error}") from None
        parts: dict[str, dict[str, Any]] = {}
        for name, value in given.items():
            field = self.fields[name]
            parts.setdefault(field.place, {})[field.alias] = value
        path = fill_path(self.path, dict(_pairs(parts.get("path", {}))))
        request: dict[str, Any] = {"method": "POST", "url": path}
        if "query" in parts:
            request["params"] = _flat(parts["query"])
        headers = _pairs(parts.get("header", {}))
        cookies = SimpleCookie(dict(_pairs(parts.get("cookie", {}))))
        if cookies:
            crumbs = (f"{each.key}={each.coded_value}" for each in cookies.values())
            headers.append(("cookie", "; ".join(crumbs)))
        return {**request, "headers": headers, **self._content(parts)}

    def _content(self, parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
        if "file" in parts or "form" in parts:
            files = [
                (name, _file(each))
                for name, value in parts.get("file", {}).items()
                for each in (value if isinstance(value, list) else [value])
                if each is not None
            ]
            return {"data": _flat(parts.get("form", {})), "files": files}
        if "body" not in parts:
            return {}
        body: Any = parts["body"]
        if not self.embedded:
            (body,) = body.values()
        return {"json": jsonable_encoder(body)}

    def read(self, response: httpx.Response) -> Any:
        """
        Return the value of a response that has been read completely.

        Raises:
            AppClientError: The response is an error.
        """
        raise_for_status(response)
        if not response.content:
            return None
        if "json" not in response.headers.get("content-type", ""):
            return response.content
        if self.output is None:
            return _parse(response.content, self.path)
        return self.output.validate_json(response.content)


def _parse(data: str | bytes, path: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AppClientError(f"{path} answered with unreadable JSON: {error}", 500) from error


def raise_for_status(response: httpx.Response) -> None:
    """
    Raise the error in *response*, which has been read.

    Raises:
        AppClientError: The status is an error.
    """
    if not response.is_success:
        request = response.request
        reason = _reason(response)
        said = f"{request.url} answered {response.status_code}" + (reason and f": {reason}")
        if response.status_code == 401 and "authorization" not in request.headers:
            said = f"{said.rstrip('.')}. {explain_missing_key(str(request.url))}"
        raise AppClientError(
            said,
            response.status_code,
            dict(response.headers),
        )


@contextlib.contextmanager
def http_errors(url: str) -> Iterator[None]:
    """Raise AppClientError if *url* sends no response, or an incomplete one."""
    try:
        yield
    except httpx.ConnectError as error:
        raise AppClientError(f"{url} cannot be reached: {error}", 500) from error
    except httpx.TimeoutException as error:
        raise AppClientError(f"{url} did not respond within the timeout.", 504) from error
    except httpx.TransportError as error:
        raise AppClientError(f"{url} broke off its response: {error}", 500) from error


def _reason(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return response.text[:1000]
    if not isinstance(detail, list):
        return str(detail)
    lines = []
    for each in detail:
        if not (isinstance(each, dict) and "msg" in each):
            # A list that a handler has raised.
            lines.append(str(each))
            continue
        # Invalid fields are named as the client wrote them.
        where = ".".join(str(part) for part in each.get("loc", ())[1:])
        lines.append(f"{where}: {each['msg']}" if where else str(each["msg"]))
    return "; ".join(lines)


def endpoint_calls(cls: type[App]) -> tuple[dict[str, EndpointCall], dict[str, RouteSignature]]:
    """Return the endpoints of *cls* by the names of their methods, and those for websockets."""
    application = cls()
    routes = {
        route.path: route
        for route in application.build_application().routes
        if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    }
    calls: dict[str, EndpointCall] = {}
    sockets: dict[str, RouteSignature] = {}
    for signature, handler in application.collect_routes().items():
        if signature.is_websocket:
            sockets[handler.__name__] = signature
        else:
            calls[handler.__name__] = _call(handler, routes[signature.path])
    return calls, sockets


def _call(handler: Callable[..., Any], route: APIRoute) -> EndpointCall:
    dependant = route.dependant
    fields: dict[str, RequestField] = {}
    for place in ("path", "query", "header", "cookie"):
        for each in getattr(dependant, f"{place}_params"):
            fields[each.name] = RequestField(place, each.alias)
    for each in dependant.body_params:
        kind = "body"
        if isinstance(each.field_info, params.File):
            kind = "file"
        elif isinstance(each.field_info, params.Form):
            kind = "form"
        fields[each.name] = RequestField(kind, each.alias)
    shown = signature_of(route.endpoint)
    parameters = [each for each in shown.parameters.values() if each.name in fields]
    streams = is_generator(handler)
    answered = item_type(handler) if streams else shown.return_annotation
    return EndpointCall(
        name=handler.__name__,
        path=route.path_format,
        signature=shown.replace(parameters=[_optional(each) for each in parameters]),
        fields=fields,
        # FastAPI makes a field of its own for a body that holds several arguments.
        embedded=all(each is not route.body_field for each in dependant.body_params),
        output=_adapter(answered),
        streams=streams,
    )


def _optional(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return *parameter* without FastAPI's marker as its default."""
    default = parameter.default
    if isinstance(default, params.Param | params.Body):
        required = default.is_required()
        default = parameter.empty if required else default.default
    return parameter.replace(default=default)


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    if annotation in (inspect.Signature.empty, Any, None) or isinstance(annotation, str):
        return None
    if isinstance(annotation, type) and issubclass(annotation, Response):
        return None
    return TypeAdapter(annotation)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a query or a form, with models replaced by their fields."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        plain = jsonable_encoder(value, exclude_none=True)
        if isinstance(value, BaseModel):
            flat.update(plain)
        elif plain is not None:
            flat[name] = plain
    return flat


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fields of a path, of headers or of cookies; a list has a pair for each value."""
    return [
        (name, str(each))
        for name, value in _flat(values).items()
        for each in (value if isinstance(value, list) else [value])
    ]


def _file(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        with open(value, "rb") as file:
            return os.path.basename(value), file.read()
    return value


class EventReader:
    """Parses the lines of a stream of events into items."""

    def __init__(self, call: EndpointCall) -> None:
        self._call = call
        self._failed = False

    def read(self, line: str) -> Iterator[Any]:
        """
        Iterate over the items that *line* completes: one or none.

        Raises:
            AppClientError: The stream has failed.
        """
        kind, _, data = line.partition(":")
        if kind == "event":
            self._failed = data.strip() == "error"
        elif kind == "data" and self._failed:
            told = _parse(data, self._call.path)
            detail = told.get("detail") if isinstance(told, dict) else told
            raise AppClientError(f"The stream of {self._call.path} failed: {detail}", 500)
        elif kind == "data":
            output = self._call.output
            path = self._call.path
            yield _parse(data, path) if output is None else output.validate_json(data)
