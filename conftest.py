"""
The code blocks of the documentation are tests; those of one page are one program.
"""

from __future__ import annotations

from typing import Any

try:
    from sybil import Sybil
    from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
except ModuleNotFoundError:
    # A distribution is also tested alone, where the documentation is not.
    pass
else:

    def as_program(namespace: dict[str, Any]) -> None:
        """
        Give the page's code the name of a program, as it has where a reader runs it.
        """
        namespace["__name__"] = "__main__"

    pytest_collect_file = Sybil(
        parsers=[PythonCodeBlockParser(), SkipParser()],
        patterns=["docs/*.md", "README.md", "CONTRIBUTING.md", "plugins/*/README.md"],
        setup=as_program,
    ).pytest()
