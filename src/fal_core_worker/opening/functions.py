"""Functions are opened: what they need is checked first, so that an error can name it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

from fal_core_worker.importing.finding import ImportRaised
from fal_core_worker.opening import absent, handovers
from fal_core_worker.opening.models import explain_models, forget_models, rebuild_models
from fal_core_worker.opening.origins import CollectedNames, is_found
from fal_core_worker.opening.seals import (
    PREFIX_SIZE,
    MissingModule,
    Sealed,
    SealingError,
    Unpickler,
    load,
    loads,
)
from fal_core_worker.opening.unpickling import (
    CollectedClasses,
    ForeignUnpickler,
    explain_failure,
    refuse,
)
from fal_core_worker.opening.values import remember_classes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fal_core_worker.opening.seals import AnySealed


def open_function(
    native: AnySealed | None, portable: AnySealed | None, refusal: str = ""
) -> Callable[..., Any]:
    """
    Open the form of a function that is for this Python.

    Arguments:
        native: The form for the Python minor that sealed it.

        portable: The form for any other Python, with the function as source.

        refusal: Why there is no portable form, as a sentence.

    Raises:
        MissingModule: The function needs a module that is not installed.

        SealingError: There is no form for this Python, or it cannot be opened.
    """
    own = None if native is None else Sealed(*native)
    other = None if portable is None else Sealed(*portable)
    with CollectedClasses() as classes, CollectedNames() as names:
        if own is not None and own.python == sys.version_info[:2]:
            function = _open(own, Unpickler)
        else:
            function = _open_portable(own, other, refusal)
    remember_classes(function, frozenset(classes))
    handovers.keep(function, own, other, refusal, list(names))
    return function


def open_forms(native: bytes | None, portable: bytes | None, refusal: str) -> Any:
    """Open the form of a function that is for this Python, given the data of both."""
    return open_function(
        None if native is None else Sealed(native),
        None if portable is None else Sealed(portable),
        refusal,
    )


def _open_portable(
    native: Sealed | None, portable: Sealed | None, refusal: str
) -> Callable[..., Any]:
    if portable is None:
        if native is None:
            sentence = "The call came with no function to open."
        else:
            name, _ = loads(native.data[PREFIX_SIZE:])
            sentence = refuse(native, f"function {name!r}")
        raise SealingError(f"{sentence} {refusal}".rstrip())
    return _open(portable, ForeignUnpickler)


def _open(sealed: Sealed, unpickler: Callable[..., Any]) -> Callable[..., Any]:
    file = io.BytesIO(sealed.data)
    file.seek(PREFIX_SIZE)
    # Its name, and the modules that it imports with its names for them.
    name, modules = load(file)
    absent.install()
    _check_modules(name, modules)
    forget_models()
    try:
        # Classes that its annotations name come after the function.
        function: Callable[..., Any]
        function, *_ = unpickler(file, buffers=sealed.buffers).load()
        rebuild_models()
    except ModuleNotFoundError as error:
        raise MissingModule(_missing(name, str(error.name), ())) from error
    except ImportRaised as raised:
        # It is an error of the user's imports, as if the function had made them.
        failed = raised.error
    except Exception as error:
        why = explain_failure(sealed, f"function {name!r}", error)
        raise SealingError(f"{why}{explain_models(from_caller=True)}") from error
    else:
        return function
    raise failed


def _check_modules(name: str, modules: dict[str, tuple[str, ...]]) -> None:
    for module, aliases in modules.items():
        if not is_found(module):
            raise MissingModule(_missing(name, module, aliases))


def _missing(name: str, module: str, aliases: tuple[str, ...]) -> str:
    others = [alias for alias in aliases if alias != module]
    known_as = f" (as {', '.join(others)})" if others else ""
    what = f"what provides {module!r}"
    if module == "pydantic_core" or module.startswith("pydantic."):
        # Models refer to modules that only pydantic 2 has.
        what = "'pydantic>=2'"
    return (
        f"Function {name!r} uses module {module!r}{known_as}, which its environment does "
        f"not have. Add {what} to requirements."
    )
