"""Realtime endpoints: methods that answer the messages of a websocket."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast, get_args, get_origin

from fal_core_worker.annotations import signature_of
from fal_core_worker.serving.routes import RouteSignature
from fal_serve.declaring.endpoints import check_called, set_route
from fal_serve.declaring.errors import declaration_error
from fal_serve.declaring.signatures import batch_parameter

if TYPE_CHECKING:
    from fal_serve.declaring.typed_endpoints import RealtimeDecorator

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

#: The content types that need no custom codec.
MSGPACK = "application/msgpack"
JSON = "application/json"


class _Unsaid:
    """Stands for a type that is taken from the annotations."""

    def __repr__(self) -> str:
        return "<as annotated>"


_UNSAID: Any = _Unsaid()

#: The mode of a handler, by whether its inputs and its outputs are streams.
MODES = {
    (False, False): "unary",
    (False, True): "server_streaming",
    (True, False): "client_streaming",
    (True, True): "bidi",
}

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)

_STREAMS = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)
_SYNC_STREAMS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
)


def realtime(
    path: str,
    *,
    buffering: int | None = None,
    session_timeout: float | None = None,
    input_modal: Any | None = _UNSAID,
    output_modal: Any | None = _UNSAID,
    max_batch_size: int = 1,
    batch_wait: float = 0.0,
    content_type: str = MSGPACK,
    encode_message: Callable[[Any], bytes] | None = None,
    decode_message: Callable[[bytes], Any] | None = None,
    emit_timings: bool = False,
) -> RealtimeDecorator:
    """
    Have a method answer the messages of a websocket at *path*.

    The method is called with one input after the other, or once with an async iterator over
    them if its parameter is annotated as one. With ``*inputs`` it is called with inputs of
    many sessions at once, and returns an output for each; with ``input, *inputs`` those are
    the waiting inputs of one session, which get one output together. It returns an output,
    or yields several. Calling the method directly is not changed.

    Arguments:
        buffering: How many inputs may wait; beyond that, the oldest is dropped. None drops
            nothing, and holds the client back. A session that takes one input has none
            that wait.

        session_timeout: Seconds that an idle session waits for an input. None waits for
            ever.

        input_modal: The type that inputs are validated against; None validates nothing.
            By default it is the annotation.

        output_modal: The type of an output, for the OpenAPI document.

        max_batch_size: The most inputs that a method with ``*inputs`` is called with.

        batch_wait: Seconds that a batch which is not full waits for more inputs.

        content_type: The content type of the messages. With ``application/json`` they are
            JSON; any other than that and msgpack needs a codec, and is for the document.

        encode_message: Returns the bytes of an output. A model is passed as a dictionary.

        decode_message: Returns the input for bytes; raises ValueError for invalid ones.

        emit_timings: Send after each output how many seconds the handler took, not counting
            those in which it waited for inputs; after a stream for one input, once.

    Raises:
        ValueError: The declaration is invalid.
    """
    check_called("realtime", path)
    frame = sys._getframe(1)

    def mark(handler: HandlerT) -> HandlerT:
        check_numbers(handler, buffering=buffering, session_timeout=session_timeout)
        shape = _shape_of(handler, frame, input_modal, output_modal)
        check_batches(handler, max_batch_size, batch_wait)
        signature = RouteSignature(
            path,
            is_websocket=True,
            input_modal=shape.input,
            output_modal=shape.output,
            realtime_mode=shape.mode,
            content_type=content_type,
            buffering=buffering,
            session_timeout=session_timeout,
            max_batch_size=max_batch_size,
            emit_timings=emit_timings,
            encode_message=encode_message,
            decode_message=decode_message,
        )
        check_codec(handler, signature)
        return cast(HandlerT, RealtimeEndpoint(handler, signature, batch_wait))

    return mark


class RealtimeEndpoint:
    """
    A handler of realtime messages. Accessed and called like the method that it wraps.

    Attributes:
        original_func: The handler as it was written.
    """

    route_signature: RouteSignature
    batch_wait: float

    def __init__(
        self, handler: Callable[..., Any], signature: RouteSignature, batch_wait: float
    ) -> None:
        functools.update_wrapper(self, handler)
        # From Python 3.14 on it refers to the whole body of the class, which cannot travel.
        vars(self).pop("__annotate__", None)
        self.original_func = handler
        set_route(self, signature, batch_wait=batch_wait)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.original_func(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> RealtimeEndpoint:
        if instance is None:
            return self
        bound = RealtimeEndpoint.__new__(RealtimeEndpoint)
        vars(bound).update(vars(self))
        bound.original_func = self.original_func.__get__(instance, owner)
        return bound


# -- the shape of a handler ----------------------------------------------------------


class _Shape(NamedTuple):
    """The mode and types of a handler, as its signature declares them."""

    mode: str
    input: Any
    output: Any


def _shape_of(
    handler: Callable[..., Any], frame: FrameType, input_modal: Any, output_modal: Any
) -> _Shape:
    """
    Return the shape of *handler*.

    Raises:
        ValueError: It cannot be a realtime endpoint.
    """
    name = handler.__name__
    parameter = _parameter_of(handler)
    across_sessions = parameter.kind is parameter.VAR_POSITIONAL
    batches = batch_parameter(handler) is not None
    taken = _evaluate(handler, parameter.annotation, frame, input_modal)
    given = _evaluate(handler, signature_of(handler).return_annotation, frame, output_modal)
    taken_item, given_item = (
        _item_of(taken, _STREAMS),
        _item_of(given, _STREAMS + _SYNC_STREAMS),
    )
    is_async_generator = inspect.isasyncgenfunction(handler)
    streams_in = taken_item is not None
    streams_out = given_item is not None or is_async_generator
    streams_out = streams_out or inspect.isgeneratorfunction(handler)
    if batches and (streams_in or streams_out):
        raise declaration_error(
            f"Realtime endpoint {name!r} takes batches, and cannot stream. Return "
            f"{'an output for each input' if across_sessions else 'one output'}."
        )
    if streams_in and not (is_async_generator or inspect.iscoroutinefunction(handler)):
        raise declaration_error(
            f"Realtime endpoint {name!r} iterates over its inputs, and must be 'async def'."
        )
    mode = MODES[streams_in, streams_out]
    if across_sessions:
        given_item = _item_of(given, (list, tuple, collections.abc.Sequence))
    found_input = taken if taken_item is None else taken_item
    found_output = given if given_item is None else given_item
    return _Shape(
        mode,
        _type(found_input if input_modal is _UNSAID else input_modal),
        _type(found_output if output_modal is _UNSAID else output_modal),
    )


def _parameter_of(handler: Callable[..., Any]) -> inspect.Parameter:
    """Return the parameter of *handler* that takes the input or inputs."""
    name = handler.__name__
    parameters = list(signature_of(handler).parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        del parameters[0]
    batch = batch_parameter(handler)
    if batch is not None:
        if parameters == [batch]:
            return batch
        first, *others = parameters
        if others == [batch] and first.kind in _POSITIONAL and first.default is first.empty:
            return first
        raise declaration_error(
            f"Realtime endpoint {name!r} takes batches, and cannot have other parameters: "
            f"they would be of one input. Write 'def {name}(self, *{batch.name})', or "
            f"'def {name}(self, input, *{batch.name})' for batches of one session."
        )
    needed = [each for each in parameters[1:] if each.default is each.empty]
    if not parameters or parameters[0].kind not in _POSITIONAL or needed:
        raise declaration_error(
            f"Realtime endpoint {name!r} must take one parameter, the input: "
            f"'def {name}(self, input)'; '*inputs' takes batches."
        )
    return parameters[0]


def _evaluate(
    handler: Callable[..., Any], annotation: Any, frame: FrameType, modal: Any
) -> Any:
    """Return the type that *annotation* stands for, or Any without one."""
    if annotation is inspect.Parameter.empty:
        return Any
    plain: Any = inspect.unwrap(handler)

    def carrier() -> None: ...

    carrier.__annotations__ = {"type": annotation}
    names: dict[str, Any] = {}
    # The local names of the class body, and of the function around it, if there is one.
    for each in (frame.f_back, frame):
        if each is not None and each.f_globals is plain.__globals__:
            names.update(each.f_locals)
    try:
        return inspect.get_annotations(
            carrier, globals=plain.__globals__, locals=names, eval_str=True
        )["type"]
    except Exception as error:
        if modal is not _UNSAID:
            return Any
        raise declaration_error(
            f"The annotation {annotation!r} of realtime endpoint {handler.__name__!r} means "
            f"nothing here: {error}. Define it before the class, or pass input_modal= and "
            "output_modal=."
        ) from error


def _item_of(annotation: Any, kinds: tuple[Any, ...]) -> Any | None:
    """Return the item type of a stream, or None if *annotation* is none of *kinds*."""
    if annotation in kinds:
        return Any
    if get_origin(annotation) not in kinds:
        return None
    arguments = [each for each in get_args(annotation) if each is not Ellipsis]
    return arguments[0] if arguments else Any


def _type(annotation: Any) -> Any | None:
    return None if annotation in (Any, type(None)) else annotation


def check_numbers(handler: Callable[..., Any], *, buffering: Any, session_timeout: Any) -> None:
    name = handler.__name__
    if buffering is not None and (type(buffering) is not int or buffering < 1):
        raise declaration_error(
            f"buffering of realtime endpoint {name!r} must be a whole number of at least 1, "
            f"not {buffering!r}."
        )
    if session_timeout is not None and not (
        type(session_timeout) in (int, float) and session_timeout > 0
    ):
        raise declaration_error(
            f"session_timeout of realtime endpoint {name!r} must be seconds, more than 0, "
            f"not {session_timeout!r}."
        )


def check_batches(handler: Callable[..., Any], size: int, wait: float) -> None:
    name, batch = handler.__name__, batch_parameter(handler)
    if batch is None and size != 1:
        raise declaration_error(
            f"Realtime endpoint {name!r} has a max_batch_size of {size}, and takes no "
            f"batches. Write 'def {name}(self, *inputs)', which is given many inputs and "
            "returns an output for each."
        )
    if wait and (batch is None or _parameter_of(handler) != batch):
        raise declaration_error(
            f"Realtime endpoint {name!r} has a batch_wait, which is for batches of many "
            f"sessions. Leave it out, or write 'def {name}(self, *inputs)'."
        )


def check_codec(handler: Callable[..., Any], signature: RouteSignature) -> None:
    content_type = signature.content_type
    own = signature.encode_message or signature.decode_message
    if own is None and content_type not in (None, MSGPACK, JSON):
        raise declaration_error(
            f"Realtime endpoint {handler.__name__!r} has the content_type "
            f"{content_type!r} and no codec for it. Pass encode_message= and "
            f"decode_message=, or one of {MSGPACK!r} and {JSON!r}."
        )


def check_written(handler: Callable[..., Any], signature: RouteSignature) -> None:
    """
    Check that the realtime route *signature*, written by hand, fits its *handler*.

    Raises:
        ValueError: It does not.
    """
    name, mode = handler.__name__, signature.realtime_mode
    _parameter_of(handler)
    check_batches(handler, signature.max_batch_size, getattr(handler, "batch_wait", 0.0))
    check_codec(handler, signature)
    takes = mode in (MODES[True, False], MODES[True, True])
    if takes and not (
        inspect.isasyncgenfunction(handler) or inspect.iscoroutinefunction(handler)
    ):
        raise declaration_error(
            f"Realtime endpoint {name!r} iterates over its inputs, and must be 'async def'."
        )
    yields = inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler)
    if yields and mode in (MODES[False, False], MODES[True, False]):
        raise declaration_error(
            f"Realtime endpoint {name!r} has the realtime_mode {mode!r}, and yields. Return "
            f"one output, or write {MODES[takes, True]!r}."
        )
