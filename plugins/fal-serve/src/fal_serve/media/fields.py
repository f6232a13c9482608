"""Fields of models, with what forms need to know of them."""

from __future__ import annotations

import warnings
from functools import wraps
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from fal_serve.media.constraints import (
    ImageSizeConstraints,
    VideoNormalizationConfig,
    VideoValidationConfig,
    to_xfal,
)

FieldT = TypeVar("FieldT")

#: Marks a field that forms do not show.
_HIDDEN = "_fal_hidden"


def make_field(kind: str | None, extra: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Return a field whose schema has *extra*, and says which *kind* of medium it takes."""
    given = kwargs.pop("json_schema_extra", None) or {}

    def complete(schema: dict[str, Any]) -> None:
        if callable(given):
            given(schema)
        else:
            schema.update(given)
        added = {key: value for key, value in extra.items() if key != "ui"}
        schema.update(added)
        shown = {**schema.get("ui", {}), **extra.get("ui", {})}
        if kind is not None:
            shown.setdefault("field", kind)
        if shown:
            schema["ui"] = shown

    return Field(*args, json_schema_extra=complete, **kwargs)


@wraps(Field)
def FileField(*args: Any, **kwargs: Any) -> Any:
    """A field for a file, which forms show with a button to choose one."""
    return make_field("file", {}, *args, **kwargs)


@wraps(Field)
def ImageField(*args: Any, **kwargs: Any) -> Any:
    """A field for an image."""
    return make_field("image", {}, *args, **kwargs)


@wraps(Field)
def AudioField(*args: Any, **kwargs: Any) -> Any:
    """A field for a sound."""
    return make_field("audio", {}, *args, **kwargs)


@wraps(Field)
def VideoField(
    *args: Any,
    constraints: VideoValidationConfig | None = None,
    combined_constraints: VideoValidationConfig | None = None,
    normalization: VideoNormalizationConfig | None = None,
    ui: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """
    A field for a video, or for a list of videos.

    Arguments:
        constraints: What each video has to be, as the schema tells it.

        combined_constraints: What the videos of a list may be together.

        normalization: What is done with a video that is taken.
    """
    limits = {} if constraints is None else to_xfal(constraints)
    for name, config in (
        ("combined", combined_constraints),
        ("normalization", normalization),
    ):
        told = {} if config is None else to_xfal(config)
        if told:
            limits[name] = told
    extra: dict[str, Any] = {"x-fal": limits} if limits else {}
    return make_field("video", {**extra, "ui": dict(ui or {})}, *args, **kwargs)


@wraps(Field)
def ImageSizeField(
    *args: Any,
    constraints: ImageSizeConstraints | None = None,
    ui: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """
    A field for the size of an image.

    Arguments:
        constraints: Which sizes the model can make, as the schema tells it.
    """
    limits = {} if constraints is None else to_xfal(constraints)
    extra: dict[str, Any] = {"x-fal": limits} if limits else {}
    return make_field(None, {**extra, "ui": dict(ui or {})}, *args, **kwargs)


def Hidden(field: FieldT) -> FieldT:
    """Mark *field*, the result of ``Field`` with a default, as one that forms do not show."""
    if not isinstance(field, FieldInfo):
        raise TypeError(
            f"Hidden takes a field, as in Hidden(Field(default=False)), not {field!r}."
        )
    if field.is_required():
        raise ValueError("A hidden field needs a default or a default_factory.")
    field.metadata = [*field.metadata, _HIDDEN]
    return field


class FalBaseModel(BaseModel):
    """
    A model that says how forms show it.

    Attributes:
        SCHEMA_IGNORES: Fields that forms do not show. Hidden(Field(…)) says the same.

        FIELD_ORDERS: The fields that come first, in their order.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict()

    SCHEMA_IGNORES: ClassVar[set[str]] = set()
    FIELD_ORDERS: ClassVar[list[str]] = []

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if vars(cls).get("SCHEMA_IGNORES"):
            warnings.warn(
                "SCHEMA_IGNORES is deprecated. Use Hidden(Field(…)).",
                DeprecationWarning,
                stacklevel=3,
            )
        given = cls.model_config.get("json_schema_extra")
        inner = getattr(given, "inner", given)
        cls.model_config = {**cls.model_config, "json_schema_extra": _Shown(cls, inner)}


class _Shown:
    """
    Completes the schema of a model.

    Arguments:
        inner: What the model itself adds: a mapping, or a callback.
    """

    def __init__(self, model: type[FalBaseModel], inner: Any) -> None:
        self.model = model
        self.inner = inner

    def __call__(self, schema: dict[str, Any]) -> None:
        if callable(self.inner):
            self.inner(schema)
        else:
            schema.update(self.inner or {})
        properties = schema.get("properties", {})
        for name, field in self.model.model_fields.items():
            is_hidden = _HIDDEN in field.metadata or name in self.model.SCHEMA_IGNORES
            if is_hidden and name in properties:
                properties[name].setdefault("ui", {})["hidden"] = True
        first = [name for name in self.model.FIELD_ORDERS if name in properties]
        if first:
            ordered = {name: properties[name] for name in (*first, *properties)}
            schema["properties"] = ordered
