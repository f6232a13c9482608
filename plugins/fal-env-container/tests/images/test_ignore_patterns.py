"""``.dockerignore``, as Docker's documentation has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fal_core.errors import OptionError
from fal_env_container.images.ignore_patterns import IgnorePatterns, clean_lines

#: Of Docker's documentation and of the tests of its matcher: lines, path, left out or not.
CASES = [
    # The table of the documentation.
    ("*/temp*", "somedir/temporary.txt", True),
    ("*/temp*", "somedir/temp", True),
    ("*/temp*", "somedir/temp/inner", True),
    ("*/temp*", "temporary.txt", False),
    ("*/*/temp*", "somedir/subdir/temporary.txt", True),
    ("*/*/temp*", "somedir/temporary.txt", False),
    ("temp?", "tempa", True),
    ("temp?", "tempab", False),
    ("temp?", "somedir/tempa", False),
    ("**/*.go", "main.go", True),
    ("**/*.go", "a/b/main.go", True),
    ("**/*.go", "a/b/main.gox", False),
    ("/foo/bar", "foo/bar", True),
    ("foo/bar", "foo/bar", True),
    ("foo/bar/", "foo/bar/x", True),
    ("foo/./x/../bar", "foo/bar", True),
    ("foo", "x/foo", False),
    # Exceptions: the last that matches counts.
    ("*.md\n!README.md", "README.md", False),
    ("*.md\n!README.md", "other.md", True),
    ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
    ("*.md\n!README*.md\nREADME-secret.md", "README-1.md", False),
    ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
    ("docs\n!docs/README.md", "docs/README.md", False),
    ("docs\n!docs/README.md", "docs/x", True),
    ("*\n!src", "src/a/b", False),
    ("*\n!src", "other", True),
    ("!fileutils.go\n*.go", "fileutils.go", True),
    # Of the matcher.
    ("**", "file", True),
    ("**", "dir/file", True),
    ("**/", "dir/file", True),
    ("**/**", "dir/file", True),
    ("dir/**", "dir/file", True),
    ("dir/**", "dir", False),
    ("**/dir", "dir/file", True),
    ("**/dir", "a/dir", True),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**/dir2/**", "dir/dir2/dir2/file", True),
    ("**file", "dir/file", True),
    ("**file", "file", True),
    ("**/file*txt", "dir/dir/file.txt", True),
    ("**/file*.txt*", "dir/dir/file.txt", True),
    ("**/*", "file", True),
    ("**/*/*.txt", "dir/file.txt", True),
    ("a**/*.txt", "a/dir/file.txt", True),
    ("a**/*.txt", "a/file.txt", True),
    ("a/*.txt", "a/file.txt", True),
    ("a/*.txt", "a/dir/file.txt", False),
    ("a[b-d]e", "ace", True),
    ("a[b-d]e", "aae", False),
    ("a[^b-d]e", "aae", True),
    ("[a]", "a", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "axb", False),
    (".*", ".foo", True),
    (".*", "foo", False),
    ("abc.def", "abcdef", False),
    ("a(b)+c", "a(b)+c", True),
    ("a$b", "a$b", True),
    ("#comment\nfoo", "#comment", False),
    ("\\#x", "#x", True),
    ("  foo  ", "foo", True),
    ("foo", "foobar", False),
    (".", "foo", False),
]


def test_paths_are_left_out_as_docker_does(check_all: Callable[..., None]):
    """
    A path is left out if the last pattern that matches it or a directory above is none with
    an exclamation mark.
    """

    def check(row: tuple[str, str, bool]) -> None:
        lines, path, ignored = row
        patterns = IgnorePatterns.parse(lines.splitlines())
        assert (patterns.match(path) is not None) == ignored

    check_all(check, CASES)


def test_lines_are_cleaned():
    """Comments, a byte order mark, white space and slashes at the ends do not count."""
    lines = ["\ufeff# comment", "", " /a/b/ ", "! /c", "#d", "./e"]
    assert clean_lines(lines) == ["a/b", "!c", "e"]


@pytest.mark.parametrize("line", ["!", "a[", "[]", "b[c"])
def test_bad_patterns_are_errors(line: str):
    """A line that is no pattern is an error that names it."""
    with pytest.raises(OptionError, match="dockerignore"):
        IgnorePatterns.parse([line])
