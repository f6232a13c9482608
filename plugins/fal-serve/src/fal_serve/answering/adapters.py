"""Adapters: they wrap the handlers of an application as endpoints for FastAPI."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from fastapi import Body
from fastapi.encoders import jsonable_encoder
from starlette.responses import Response

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering.batches import Batched
from fal_serve.answering.event_streams import EventStream
from fal_serve.answering.iterations import iterate
from fal_serve.answering.json_responses import encode
from fal_serve.answering.threads import run_on_thread
from fal_serve.declaring.errors import declaration_error
from fal_serve.declaring.signatures import batch_parameter, signature_of

Handler = Callable[..., Any]


def adapt(signature: RouteSignature, handler: Handler) -> Handler:
    """
    Return the endpoint that FastAPI calls for *handler*: often the handler itself.

    Raises:
        ValueError: A handler that streams has a content type other than that of events.
    """
    adapted = _adapt(signature, handler)
    return adapt_content(signature, adapted) if has_own_content_type(signature) else adapted


def _adapt(signature: RouteSignature, handler: Handler) -> Handler:
    batch = batch_parameter(handler)
    if batch is not None:
        return adapt_batch(signature, handler, batch)
    if is_generator(handler):
        if has_own_content_type(signature) and signature.content_type != EventStream.media_type:
            raise declaration_error(
                f"The route {signature.path!r} has the content_type "
                f"{signature.content_type!r}, and its handler yields, which is answered with "
                "events. Leave it out, or return a StreamingResponse."
            )
        return adapt_generator(handler)
    if is_blocking(handler):
        return adapt_plain(handler)
    return handler


def has_own_content_type(signature: RouteSignature) -> bool:
    """Tell whether a route's responses have a content type other than JSON."""
    return signature.content_type not in (None, "application/json")


def is_blocking(handler: Handler) -> bool:
    """Tell whether *handler* is a plain function, which would block the event loop."""
    is_async = inspect.iscoroutinefunction
    return inspect.isroutine(handler) and not (
        is_async(handler) or is_async(inspect.unwrap(handler))
    )


def is_generator(handler: Handler) -> bool:
    """Tell whether *handler* is a generator function, sync or async."""
    plain = inspect.unwrap(handler)
    return inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)


def item_type(handler: Handler) -> Any:
    """Return the type of a generator's items, or Any if it is not annotated."""
    annotation = signature_of(handler).return_annotation
    if isinstance(get_origin(annotation), type) and issubclass(
        get_origin(annotation), Iterable | AsyncIterable
    ):
        return (*get_args(annotation), Any)[0]
    return Any


def adapt_plain(handler: Handler) -> Handler:
    """
    Return an endpoint that calls a plain function on a thread.

    FastAPI would do so too, and then validate the output on another thread.
    """

    async def answer(**values: Any) -> Any:
        return await run_on_thread(handler, **values)

    adapted = present_as(answer, handler, signature_of(handler))
    # FastAPI resolves annotations in the module of the function that it unwraps to.
    adapted.__wrapped__ = handler  # type: ignore[attr-defined]  # no function's type has it
    return adapted


def adapt_content(signature: RouteSignature, handler: Handler) -> Handler:
    """
    Return an endpoint whose responses have the content type of the route.

    Text and bytes are sent as they are, anything else as JSON.
    """
    content_type = signature.content_type

    async def answer(**values: Any) -> Response:
        output = handler(**values)
        if inspect.isawaitable(output):
            output = await output
        if isinstance(output, Response):
            return output
        if isinstance(output, str):
            output = output.encode("utf-8", "backslashreplace")
        content = output if isinstance(output, bytes) else encode(jsonable_encoder(output))
        made = Response(content, media_type=content_type)
        for given in (value for value in values.values() if isinstance(value, Response)):
            made.status_code = given.status_code or made.status_code
            made.raw_headers += [
                each for each in given.raw_headers if each[0] != b"content-length"
            ]
        return made

    shown = signature_of(handler).replace(return_annotation=Response)
    return present_as(answer, handler, shown)


def adapt_generator(handler: Handler) -> Handler:
    """Return an endpoint that streams the items of *handler* as server-sent events."""

    async def stream(**values: Any) -> Response:
        produced = handler(**values)
        if inspect.isawaitable(produced):
            produced = await produced
        given = [value for value in values.values() if isinstance(value, Response)]
        return EventStream(iterate(produced), given=given[0] if given else None)

    shown = signature_of(handler).replace(return_annotation=Response)
    return present_as(stream, handler, shown)


def adapt_batch(
    signature: RouteSignature, handler: Handler, batch: inspect.Parameter
) -> Handler:
    """Return an endpoint that collects the bodies of requests into batches for *handler*."""
    together = Batched(
        handler,
        max_batch_size=signature.max_batch_size,
        wait=getattr(handler, "batch_wait", 0.0),
    )
    shown = signature_of(handler)
    (annotation,) = (each.annotation for each in shown.parameters.values())
    item = inspect.Parameter(
        "item",
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=Body(),
        annotation=Any if annotation is inspect.Parameter.empty else annotation,
    )

    async def answer(item: Any) -> Any:
        return await together(item)

    output = _output_type(shown.return_annotation)
    return present_as(
        answer, handler, shown.replace(parameters=[item], return_annotation=output)
    )


def _output_type(annotation: Any) -> Any:
    """
    Return the type of a single output of a batch handler annotated with *annotation*.

    Exceptions among the outputs are errors of single requests, and are left out.
    """
    if get_origin(annotation) not in (list, tuple, Sequence):
        return inspect.Signature.empty
    (item, *others) = [each for each in get_args(annotation) if each is not Ellipsis]
    if others:
        return inspect.Signature.empty
    arms = get_args(item) if get_origin(item) in (Union, UnionType) else (item,)
    kept = [each for each in arms if not _is_error(each)]
    # The number of members is only known here, so that "|" cannot be written.
    return Union[tuple(kept)] if kept else inspect.Signature.empty  # noqa: UP007


def _is_error(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseException)


def present_as(adapter: Handler, handler: Handler, shown: inspect.Signature) -> Handler:
    """Give *adapter* the name and docstring of *handler*, and the signature *shown*."""
    functools.update_wrapper(adapter, handler, updated=())
    # Otherwise inspect.unwrap takes it for a generator or coroutine function like the handler.
    del adapter.__wrapped__  # type: ignore[attr-defined]  # no function's type has it
    adapter.__signature__ = shown  # type: ignore[attr-defined]  # likewise
    return adapter
