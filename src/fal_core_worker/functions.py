"""
Sealed functions: what one needs is told before it is opened.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

from fal_core_worker import absent, pickles
from fal_core_worker.loading import ForeignUnpickler, refuse, version_text
from fal_core_worker.models import explain_models, forget_models, rebuild_models
from fal_core_worker.origins import is_found
from fal_core_worker.raised import MissingModule, SealingError
from fal_core_worker.seals import PREFIX_SIZE, Sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: A name for people, and for each module it imports the names it has for it.
Needs = tuple[str, dict[str, tuple[str, ...]]]


def open_native(sealed: Sealed) -> Callable[..., Any]:
    """
    Open the form for the Python minor that sealed it.
    """
    return _open(sealed, pickles.Unpickler)


def open_portable(
    native: Sealed | None, portable: Sealed | None, refusal: str
) -> Callable[..., Any]:
    """
    Open the form for any other Python.
    """
    if portable is None:
        if native is None:
            raise SealingError("There is no function to open.")
        name, _ = pickles.loads(native.data[PREFIX_SIZE:])
        sentence = refuse(native, f"function {name!r}")
        raise SealingError(f"{sentence} {refusal}".rstrip())
    return _open(portable, ForeignUnpickler)


def _open(sealed: Sealed, unpickler: Callable[..., Any]) -> Callable[..., Any]:
    file = io.BytesIO(sealed.data)
    file.seek(PREFIX_SIZE)
    name, modules = pickles.load(file)
    absent.install()
    _check_modules(name, modules)
    forget_models()
    try:
        # Classes that the function names in annotations come after it.
        function: Callable[..., Any]
        function, *_ = unpickler(file, buffers=sealed.buffers).load()
        rebuild_models()
    except ModuleNotFoundError as error:
        raise MissingModule(_missing(name, str(error.name), ())) from error
    except Exception as error:
        raise SealingError(
            f"Python {version_text(sys.version_info[:2])} cannot open function {name!r}, "
            f"sealed by Python {version_text(sealed.python)}: {type(error).__name__}: {error}"
            f"{explain_models(from_caller=True)}"
        ) from error
    return function


def _check_modules(name: str, modules: dict[str, tuple[str, ...]]) -> None:
    for module, aliases in modules.items():
        if not is_found(module):
            raise MissingModule(_missing(name, module, aliases))


def _missing(name: str, module: str, aliases: tuple[str, ...]) -> str:
    others = [alias for alias in aliases if alias != module]
    known_as = f" (as {', '.join(others)})" if others else ""
    what = f"what provides {module!r}"
    if module == "pydantic_core" or module.startswith("pydantic."):
        # Models refer to what the first pydantic had not, and nothing else provides.
        what = "'pydantic>=2'"
    return (
        f"Function {name!r} uses module {module!r}{known_as}, which its environment does "
        f"not have. Add {what} to requirements."
    )
