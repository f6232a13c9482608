"""
Adapters: what FastAPI is given for the handlers of an application.
"""

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
from fal_serve.answers import encode
from fal_serve.batches import Batched
from fal_serve.endpoints import declaration_error
from fal_serve.events import EventStream
from fal_serve.iterations import iterate
from fal_serve.signatures import batch_parameter, signature_of
from fal_serve.threads import run_on_thread

Handler = Callable[..., Any]


def adapt(signature: RouteSignature, handler: Handler) -> Handler:
    """
    Return what answers the requests of *handler*: often the handler itself.

    Raises:
        ValueError: A stream is to have another content type.
    """
    adapted = _adapt(signature, handler)
    return adapt_content(signature, adapted) if fixes_content(signature) else adapted


def _adapt(signature: RouteSignature, handler: Handler) -> Handler:
    batch = batch_parameter(handler)
    if batch is not None:
        return adapt_batch(signature, handler, batch)
    if is_generator(handler):
        if fixes_content(signature) and signature.content_type != EventStream.media_type:
            raise declaration_error(
                f"The route {signature.path!r} has the content_type "
                f"{signature.content_type!r}, and its handler yields, which is answered with "
                "events. Leave it out, or return a StreamingResponse."
            )
        return adapt_generator(handler)
    if is_plain(handler):
        return adapt_plain(handler)
    return handler


def fixes_content(signature: RouteSignature) -> bool:
    """
    Tell whether the answers of a route have a content type that is not JSON's.
    """
    return signature.content_type not in (None, "application/json")


def is_plain(handler: Handler) -> bool:
    """
    Tell whether *handler* is a function that would block the loop.
    """
    is_async = inspect.iscoroutinefunction
    return inspect.isroutine(handler) and not (
        is_async(handler) or is_async(inspect.unwrap(handler))
    )


def is_generator(handler: Handler) -> bool:
    """
    Tell whether *handler* yields what it answers.
    """
    plain = inspect.unwrap(handler)
    return inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)


def item_type(handler: Handler) -> Any:
    """
    Return the type of what a generator yields, Any where it is not said.
    """
    annotation = signature_of(handler).return_annotation
    if isinstance(get_origin(annotation), type) and issubclass(
        get_origin(annotation), Iterable | AsyncIterable
    ):
        return (*get_args(annotation), Any)[0]
    return Any


def adapt_plain(handler: Handler) -> Handler:
    """
    Return what calls a handler that is no coroutine on a thread.

    FastAPI would as well, and validate what it returns on another.
    """

    async def answer(**values: Any) -> Any:
        return await run_on_thread(handler, **values)

    adapted = dress(answer, handler, signature_of(handler))
    # It is of the same kind, and what its annotations mean its module says.
    adapted.__wrapped__ = handler  # type: ignore[attr-defined]  # no function's type has it
    return adapted


def adapt_content(signature: RouteSignature, handler: Handler) -> Handler:
    """
    Return what answers with the content type of the route.

    Text and bytes are sent as they are, and all else as JSON.
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
    return dress(answer, handler, shown)


def adapt_generator(handler: Handler) -> Handler:
    """
    Return what streams the items of *handler* as events.
    """

    async def stream(**values: Any) -> Response:
        produced = handler(**values)
        if inspect.isawaitable(produced):
            produced = await produced
        given = [value for value in values.values() if isinstance(value, Response)]
        return EventStream(iterate(produced), given=given[0] if given else None)

    shown = signature_of(handler).replace(return_annotation=Response)
    return dress(stream, handler, shown)


def adapt_batch(
    signature: RouteSignature, handler: Handler, batch: inspect.Parameter
) -> Handler:
    """
    Return what puts the bodies of requests together, and gives each its own output.
    """
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
    return dress(answer, handler, shown.replace(parameters=[item], return_annotation=output))


def _output_type(annotation: Any) -> Any:
    """
    Return the type of one output of a batch handler that returns *annotation*.

    An exception in it is no output, but the error of its request.
    """
    if get_origin(annotation) not in (list, tuple, Sequence):
        return inspect.Signature.empty
    (item, *others) = [each for each in get_args(annotation) if each is not Ellipsis]
    if others:
        return inspect.Signature.empty
    arms = get_args(item) if get_origin(item) in (Union, UnionType) else (item,)
    kept = [each for each in arms if not _is_error(each)]
    # As many as are kept, which no "|" can be written between.
    return Union[tuple(kept)] if kept else inspect.Signature.empty  # noqa: UP007


def _is_error(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseException)


def dress(adapter: Handler, handler: Handler, shown: inspect.Signature) -> Handler:
    """
    Give *adapter* the name and the words of *handler*, and the signature that is shown.
    """
    functools.update_wrapper(adapter, handler, updated=())
    # Whoever unwraps it would take it for the handler's own kind.
    del adapter.__wrapped__  # type: ignore[attr-defined]  # no function's type has it
    adapter.__signature__ = shown  # type: ignore[attr-defined]  # likewise
    return adapter
