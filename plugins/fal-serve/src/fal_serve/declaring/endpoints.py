"""Endpoints: the methods of an application that answer requests at a path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.declaring.errors import declaration_error
from fal_serve.declaring.paths import find_path_error, path_shape
from fal_serve.declaring.signatures import batch_parameter, parameters_of, resolve_annotation
from fal_serve.health import HealthCheck

if TYPE_CHECKING:
    from fal_serve.declaring.typed_endpoints import (
        BatchDecorator,
        EndpointDecorator,
        HandlerT,
        SocketDecorator,
    )


class EndpointRoute(NamedTuple):
    """A handler of a class, with its name and route."""

    signature: RouteSignature
    name: str
    function: Callable[..., Any]


@overload
def endpoint(
    path: str,
    *,
    is_websocket: Literal[True],
    health_check: HealthCheck | None = None,
    max_batch_size: None = None,
    batch_wait: float = 0.0,
) -> SocketDecorator: ...


@overload
def endpoint(
    path: str,
    *,
    is_websocket: Literal[False] = False,
    health_check: HealthCheck | None = None,
    max_batch_size: int,
    batch_wait: float = 0.0,
) -> BatchDecorator: ...


@overload
def endpoint(
    path: str,
    *,
    is_websocket: Literal[False] = False,
    health_check: HealthCheck | None = None,
    max_batch_size: None = None,
    batch_wait: float = 0.0,
) -> EndpointDecorator: ...


def endpoint(
    path: str,
    *,
    is_websocket: bool = False,
    health_check: HealthCheck | None = None,
    max_batch_size: int | None = None,
    batch_wait: float = 0.0,
) -> Any:
    """
    Have a method answer requests at *path*.

    The items of a generator are sent as server-sent events as they come. A method with
    ``*inputs`` is called with many requests at once, and returns an output for each.

    Arguments:
        is_websocket: Pass the connection to the method, as its parameter annotated with
            ``WebSocket``.

        health_check: Have the host check the health of the service at this endpoint.

        max_batch_size: The most items that a method with ``*inputs`` is called with.

        batch_wait: Seconds that a batch which is not full waits for more items.

    Raises:
        ValueError: The declaration is invalid.
    """
    check_called("endpoint", path)
    signature = RouteSignature(
        path,
        is_websocket=is_websocket,
        health_check=health_check,
        max_batch_size=1 if max_batch_size is None else max_batch_size,
    )

    def mark(handler: HandlerT) -> HandlerT:
        set_route(handler, signature, batch_wait=batch_wait)
        return handler

    return mark


def check_called(decorator: str, path: Any) -> None:
    """
    Check that *decorator* was called with a path, and not with the decorated function.

    Raises:
        ValueError: The decorator was written without parentheses.
    """
    if callable(path):
        name = getattr(path, "__name__", repr(path))
        raise declaration_error(
            f"@{decorator} above {name!r} has no path. Write @{decorator}('/{name}')."
        )


def set_route(
    handler: Callable[..., Any], signature: RouteSignature, *, batch_wait: float = 0.0
) -> None:
    """
    Store the route of *handler* on it.

    Raises:
        ValueError: It has a route already, or this one is invalid.
    """
    name = getattr(handler, "__name__", repr(handler))
    known = getattr(handler, "route_signature", None)
    if known is not None:
        raise declaration_error(
            f"Function {name!r} answers at {known.path!r} already, and cannot answer at "
            f"{signature.path!r} as well. Write a function for each path."
        )
    check_signature(name, signature, batch_wait)
    marked: Any = handler
    marked.route_signature = signature
    marked.batch_wait = float(batch_wait)


def check_signature(name: str, signature: RouteSignature, batch_wait: Any) -> None:
    """
    Check the route of the handler *name* by itself.

    Raises:
        ValueError: It is invalid.
    """
    if not isinstance(signature.path, str) or not signature.path.startswith("/"):
        raise declaration_error(
            f"The path of endpoint {name!r} must begin with '/', as in '/predict', and is "
            f"{signature.path!r}."
        )
    mistake = find_path_error(signature.path)
    if mistake is not None:
        raise declaration_error(f"The path {signature.path!r} of endpoint {name!r} {mistake}")
    size = signature.max_batch_size
    if type(size) is not int or size < 1:
        raise declaration_error(
            f"max_batch_size of endpoint {name!r} must be a whole number of at least 1, "
            f"not {size!r}."
        )
    if not isinstance(batch_wait, int | float) or batch_wait < 0:
        raise declaration_error(
            f"batch_wait of endpoint {name!r} must be seconds, at least 0, not {batch_wait!r}."
        )


def routes_of(cls: type) -> list[EndpointRoute]:
    """Return the handlers of *cls* and its bases, in the order of their paths."""
    found = []
    for name in sorted({name for base in cls.__mro__ for name in vars(base)}):
        value = inspect.getattr_static(cls, name, None)
        signature = getattr(value, "route_signature", None)
        if isinstance(signature, RouteSignature):
            found.append(EndpointRoute(signature, name, getattr(value, "__func__", value)))
    return sorted(found, key=lambda route: route.signature.path)


def check_routes(cls: type) -> None:
    """
    Check the handlers of *cls*.

    Raises:
        ValueError: They cannot be served together, or one cannot be served at all.
    """
    routes = routes_of(cls)
    static = [each for each in routes if _is_static(cls, each.name)]
    sentences = (
        *_clashes(routes),
        *_health_checks(routes),
        *_methods(cls, routes),
        *_handlers([each for each in routes if each not in static], 1),
        *_handlers(static, 0),
    )
    for sentence in sentences:
        raise declaration_error(f"Class {cls.__name__!r}: {sentence}")


def check_collected(name: str, collected: Mapping[RouteSignature, Callable[..., Any]]) -> None:
    """
    Check the handlers that a servable called *name* has collected by their routes.

    Raises:
        ValueError: As :func:`check_routes` and the decorators of routes do.
    """
    routes = []
    for signature, handler in collected.items():
        called = getattr(handler, "__name__", repr(handler))
        if not isinstance(signature, RouteSignature) or not callable(handler):
            raise declaration_error(
                f"{name!r}: collect_routes must return handlers by their RouteSignature, not "
                f"{handler!r} by {signature!r}."
            )
        check_signature(called, signature, getattr(handler, "batch_wait", 0.0))
        if signature.realtime_mode is None:
            check_not_realtime(signature)
        routes.append(EndpointRoute(signature, called, handler))
    for sentence in (*_clashes(routes), *_health_checks(routes), *_handlers(routes, 0)):
        raise declaration_error(f"{name!r}: {sentence}")


def check_not_realtime(signature: RouteSignature) -> None:
    """
    Check that a route without realtime messages has no fields of realtime routes.

    Raises:
        ValueError: It has a field that would be ignored.
    """
    names = ("realtime_mode", "buffering", "session_timeout", "emit_timings")
    said = [
        name
        for name in (*names, "encode_message", "decode_message")
        if getattr(signature, name)
    ]
    if said:
        raise declaration_error(
            f"The route {signature.path!r} has {' and '.join(said)}, which is for realtime "
            "routes alone. Give it is_websocket=True and a realtime_mode, or leave it out."
        )


def check_function(function: Callable[..., Any]) -> None:
    """
    Check a function that is served on its own.

    Raises:
        ValueError: Its route does not fit it.
    """
    signature = getattr(function, "route_signature", None)
    if not isinstance(signature, RouteSignature):
        signature = RouteSignature("/")
    name = getattr(function, "__name__", repr(function))
    for sentence in _handlers([EndpointRoute(signature, name, function)], 0):
        raise declaration_error(f"Function {sentence}")


def _clashes(routes: list[EndpointRoute]) -> Iterator[str]:
    seen: dict[tuple[str, bool], EndpointRoute] = {}
    for route in routes:
        signature, name, _ = route
        place = path_shape(signature.path), signature.is_websocket
        if place in seen:
            other = seen[place]
            kind = "websocket endpoint" if signature.is_websocket else "endpoint"
            paths = dict.fromkeys((other.signature.path, signature.path))
            yield (
                f"{other.name!r} and {name!r} are both the {kind} at "
                f"{', which is '.join(map(repr, paths))}. Give one of them another path."
            )
        seen[place] = route


def _health_checks(routes: list[EndpointRoute]) -> Iterator[str]:
    checks = [route for route in routes if route.signature.health_check is not None]
    for signature, name, _ in checks:
        if not isinstance(signature.health_check, HealthCheck):
            yield f"health_check of {name!r} must be a HealthCheck."
        if signature.is_websocket:
            yield f"{name!r} is a websocket, and cannot be the health check. Use an endpoint."
    if len(checks) > 1:
        names = " and ".join(repr(route.name) for route in checks)
        yield f"{names} are all health checks, and there can be one. Keep the one that matters."


def _methods(cls: type, routes: list[EndpointRoute]) -> Iterator[str]:
    for _, name, function in routes:
        plain = getattr(function, "original_func", function)
        if not inspect.isfunction(plain):
            # Another descriptor, whose binding is unknown.
            continue
        if _is_static(cls, name):
            continue
        first = next(iter(parameters_of(plain)), None)
        if (
            first is None
            or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
            or (first.annotation is not first.empty and first.name not in ("self", "cls"))
        ):
            yield (
                f"{name!r} is a method, and must take the application first. "
                f"Write 'def {name}(self, …)'."
            )


def _is_static(cls: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(cls, name), staticmethod)


def _handlers(routes: list[EndpointRoute], skipped: int) -> Iterator[str]:
    """Yield the mistakes of handlers, whose first *skipped* parameters are bound."""
    for signature, name, function in routes:
        batch = batch_parameter(function)
        first = "self, " if skipped or inspect.ismethod(function) else ""
        if signature.realtime_mode is not None:
            continue
        if signature.is_websocket:
            yield from _websocket(signature, name, function, first)
        elif batch is None and signature.max_batch_size > 1:
            yield (
                f"{name!r} has a max_batch_size of {signature.max_batch_size}, and takes no "
                f"batches. Write 'def {name}({first}*inputs)', which is given many items and "
                "returns an output for each."
            )
        elif batch is not None:
            yield from _batch(name, function, batch, skipped)


def _batch(
    name: str, function: Callable[..., Any], batch: inspect.Parameter, skipped: int
) -> Iterator[str]:
    parameters = parameters_of(function)[skipped:]
    others = [each.name for each in parameters if each.name != batch.name]
    if others:
        yield (
            f"{name!r} takes batches, and cannot have other parameters ({', '.join(others)}): "
            f"they would be of one request. Put them into the item."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        yield f"{name!r} takes batches, and cannot yield. Return an output for each item."


def _websocket(
    signature: RouteSignature, name: str, function: Callable[..., Any], first: str
) -> Iterator[str]:
    needs = []
    if not inspect.iscoroutinefunction(inspect.unwrap(function)):
        needs.append("be 'async def'")
    if not any(_is_websocket(each, function) for each in parameters_of(function)):
        needs.append("have a parameter annotated with 'WebSocket'")
    if signature.max_batch_size > 1:
        needs.append("have no max_batch_size")
    if needs:
        yield (
            f"{name!r} is the websocket endpoint at {signature.path!r} and must "
            f"{' and '.join(needs)}: 'async def {name}({first}websocket: WebSocket)'."
        )


def _is_websocket(parameter: inspect.Parameter, function: Callable[..., Any]) -> bool:
    from starlette.websockets import WebSocket

    annotation = resolve_annotation(parameter.annotation, function)
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == "WebSocket"
    return isinstance(annotation, type) and issubclass(annotation, WebSocket)
