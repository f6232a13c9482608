"""The decorator ``function``."""

from __future__ import annotations

import functools

import pytest

from fal_core.decorators import function
from fal_core.errors import OptionError, OptionTypeError
from fal_core_worker import current
from fal_testing import InProcessHost


def test_named_module_is_looked_for_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A module that is named and does not exist is an error of the declaration; a worker
    that imports such a declaration lacks the module, and needs it not.
    """
    declare = functools.partial(function, "current", host=InProcessHost())
    # A call that another test has left on a thread makes a worker of this process.
    monkeypatch.setattr(current, "runtime", None)
    with pytest.raises(OptionError, match="'local_python_modules' names 'nomod'"):
        declare(local_python_modules=["json", "nomod"])
    with pytest.raises(OptionTypeError, match="local_python_modules"):
        declare(local_python_modules="json")
    monkeypatch.setattr(current, "runtime", object())
    declare(local_python_modules=["json", "nomod"])
