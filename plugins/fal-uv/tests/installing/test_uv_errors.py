"""Errors of uv, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_uv.installing.uv_errors import build_error, is_unsolved
from fal_uv.requirements.entries import parse_entry

WRAPPED = """\
  \N{MULTIPLICATION SIGN} No solution found when resolving dependencies:
  ╰─▶ Because there is no version of six==99 and you require six==99, we can
      conclude that your requirements are unsatisfiable.
"""


BUILD = """\
Using Python 3.11.7 environment at: x
error: Failed to build `demo @ file:///work/demo`
  cause: The build backend returned an error
  cause: Call to `backend.build_wheel` failed (exit status: 1)
         [stderr]
         Traceback (most recent call last):
         error: command 'cc' failed
         ValueError: not today
hint: This usually indicates a problem with the package.
"""


def test_reason_of_a_resolution() -> None:
    """The conclusion is left out, and wrapped lines of older versions of uv are joined."""
    requirements = [parse_entry("idna"), parse_entry("six==99")]
    error = build_error("virtualenv", WRAPPED.splitlines(), requirements, 1)
    assert error.reason == "there is no version of six==99 and you require six==99."
    assert error.requirement == "six==99"
    # The last lines are there, and not said once more.
    assert error.lines == tuple(WRAPPED.splitlines())
    assert str(error).endswith("you require six==99.")
    assert is_unsolved(WRAPPED.splitlines())


def test_reason_of_a_build() -> None:
    """The output of a build backend is in the lines, not in the reason."""
    error = build_error(
        "virtualenv",
        BUILD.splitlines(),
        [
            parse_entry("demo @ https://h/demo"),
            parse_entry("six"),
        ],
        1,
    )
    assert error.reason == (
        "Failed to build `demo @ file:///work/demo`: The build backend returned an error: "
        "Call to `backend.build_wheel` failed (exit status: 1)."
    )
    assert error.requirement == "demo @ https://h/demo"
    assert error.lines == tuple(BUILD.splitlines())
    assert str(error).splitlines()[-2].strip() == "ValueError: not today"
    assert str(error).count("Failed to build") == str(error).count("exit status: 1") == 1
    assert "cause" not in str(error)
    assert not is_unsolved(BUILD.splitlines())


def test_arguments_of_a_build_are_not_those_of_uv() -> None:
    """A program that a build starts with an unknown argument does not make uv too old."""
    lines = [
        "error: Failed to build `demo @ file:///work/demo`",
        "  cause: Call to `maturin.build_wheel` failed (exit status: 1)",
        "",
        "[stderr]",
        "error: unexpected argument '--zig' found",
    ]
    for output in (lines, lines[-1:] + lines[:2]):
        error = build_error("virtualenv", output, [parse_entry("demo")], 1)
        assert "Failed to build `demo @ file:///work/demo`" in error.reason
        assert "uv is too old" not in error.reason


@pytest.mark.parametrize("entry", ["-e .", ".", "demo @ https://h/demo"])
def test_built_package_is_blamed_if_uv_names_none(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If uv names no package, the only requirement that is built from source is blamed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "setup.py").write_text("raise SystemExit('no')")
    lines = [
        "error: The build backend returned an error",
        "  cause: Call to `setuptools.build_meta:__legacy__.build_wheel` failed",
    ]
    built = parse_entry(entry)
    for requirements in ([built], [parse_entry("six==1.0"), built]):
        assert build_error("virtualenv", lines, requirements, 1).requirement == built.text
    others = [parse_entry("other @ https://h/other"), built]
    assert build_error("virtualenv", lines, others, 1).requirement is None
    full = [*lines, "  cause: No space left on device (os error 28)"]
    assert build_error("virtualenv", full, [built], 1).requirement is None


def test_requirement_written_word_for_word_comes_first() -> None:
    """A requirement that is quoted is blamed before one whose package is named."""
    lines = [
        "error: No solution found when resolving dependencies",
        "  cause: Because gamma depends on alpha<2 and you require alpha>=2, we can conclude "
        "that your requirements are unsatisfiable.",
    ]
    requirements = [parse_entry("gamma"), parse_entry("alpha >= 2")]
    assert build_error("virtualenv", lines, requirements, 1).requirement == "alpha >= 2"


def test_name_inside_another_name_is_not_blamed() -> None:
    """A requirement is blamed for its own name, not for one that contains it."""
    lines = [
        "error: No solution found when resolving dependencies",
        "  cause: Because six-extra was not found in the package registry and you require "
        "six-extra, we can conclude that your requirements are unsatisfiable.",
    ]
    assert (
        build_error(
            "virtualenv", lines, [parse_entry("six"), parse_entry("six_extra")], 1
        ).requirement
        == "six_extra"
    )


def test_full_disk_in_the_output() -> None:
    """An error number of the system becomes a sentence."""
    lines = [
        "error: Failed to install: heavy-1.0-py3-none-any.whl (heavy==1.0)",
        "  cause: failed to copy file: No space left on device (os error 28)",
    ]
    error = build_error("virtualenv", lines, [parse_entry("heavy")], 2)
    # In words it says less than uv did, so that is shown too.
    assert error.lines == tuple(lines)
    assert error.reason == "The disk is full. Free some space."
    assert error.requirement == "heavy"


def test_no_output() -> None:
    """If uv prints nothing, the reason is how it ended."""
    assert (
        build_error("virtualenv", [], [parse_entry("six")], 137).reason
        == "uv ended with signal 9 and gave no reason."
    )
    assert build_error("virtualenv", [], [], 3).requirement is None


def unsolved(because: str) -> list[str]:
    """Return what uv prints if it finds no versions that fit."""
    conclusion = "we can conclude that your requirements are unsatisfiable."
    return [
        "error: No solution found when resolving dependencies",
        f"  cause: Because {because}, {conclusion}",
    ]


@pytest.mark.parametrize(
    "hint",
    [
        "An index URL (http://host/simple) could not be queried due to a lack of valid "
        "authentication credentials (401 Unauthorized)",
        "An index (http://host/simple) returned a 403 Forbidden error. Check that the index "
        "URL is correct and the credentials are valid.",
    ],
)
@pytest.mark.parametrize(
    ("because", "reason"),
    [
        (
            "there is no version of delta==9.0 and you require delta==9.0",
            "delta has no version 9.0; the newest is 1.0.",
        ),
        (
            "beta==1.0 depends on alpha<2 and you require alpha>=2",
            "beta==1.0 depends on alpha<2 and you require alpha>=2.",
        ),
    ],
)
def test_index_that_refuses_hides_no_other_reason(because: str, reason: str, hint: str) -> None:
    """What an index answers is said beside a missing version or a conflict, not in its place."""
    lines = [*unsolved(because), "", f"hint: {hint}"]
    error = build_error(
        "virtualenv", lines, [parse_entry("delta==9.0")], 1, newest={"delta": "1.0"}.get
    )
    assert error.reason.startswith(f"{reason} Index http://host/simple answers 40")
    assert error.reason.endswith(" Check its credentials.")


def test_package_that_does_not_exist() -> None:
    """The sentence names the package, and where it was looked for."""
    lines = unsolved(
        "humanizzz was not found in the package registry and you require humanizzz"
    )
    error = build_error(
        "virtualenv", lines, [parse_entry("humanizzz")], 1, where="on the default index"
    )
    assert error.reason == ("No package is called 'humanizzz' (looked on the default index).")
    assert str(error).count("\n") == 0
    lines = unsolved(
        "absent was not found in the package registry and beta==1.0 depends on absent, we can "
        "conclude that beta==1.0 cannot be used. And because you require beta"
    )
    error = build_error("virtualenv", lines, [parse_entry("beta")], 1)
    assert error.reason == "No package is called 'absent', which beta==1.0 requires."


@pytest.mark.parametrize(
    ("because", "reason"),
    [
        (
            "there is no version of humanize==99.0 and you require humanize==99.0",
            "humanize has no version 99.0; the newest is 4.17.0.",
        ),
        (
            "only humanize<=4.17.0 is available and you require humanize>99",
            "humanize has no version >99; the newest is 4.17.0.",
        ),
        (
            "there is no version of six==99 and you require other==99",
            "there is no version of six==99 and you require other==99.",
        ),
    ],
)
def test_version_that_does_not_exist(because: str, reason: str) -> None:
    """The sentence says which version is the newest."""
    error = build_error(
        "virtualenv",
        unsolved(because),
        [parse_entry("humanize==99.0")],
        1,
        newest={"humanize": "4.17.0"}.get,
    )
    assert error.reason == reason


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            [
                "error: Request failed after 3 retries in 6.7s",
                "  cause: Failed to fetch: `http://me:hunter2@host/simple/six/`",
                "  cause: error sending request for url (http://me:hunter2@host/simple/six/)",
                "  cause: client error (Connect)",
                "  cause: Connection refused (os error 111)",
            ],
            "http://***@host/simple/six/ cannot be fetched: Connection refused (os error 111). "
            "Check the address of the index, and the network.",
        ),
        (
            [
                "error: Failed to fetch: `https://host/simple/six/`",
                "  cause: error sending request for url (https://host/simple/six/)",
                "  cause: invalid peer certificate: UnknownIssuer",
            ],
            "https://host/simple/six/ cannot be fetched: invalid peer certificate: "
            "UnknownIssuer. Name the certificates to trust with SSL_CERT_FILE.",
        ),
        (
            [
                "error: No solution found when resolving dependencies",
                "  cause: Because six was not found in the package registry and you require "
                "six, we can conclude that your requirements are unsatisfiable.",
                "",
                "hint: An index URL (http://host/simple) could not be queried due to a lack of "
                "valid authentication credentials (401 Unauthorized)",
            ],
            "Index http://host/simple answers 401 Unauthorized. Check its credentials.",
        ),
        (
            [
                "error: No solution found when resolving dependencies",
                "  cause: Because six was not found in the package registry and you require "
                "six, we can conclude that your requirements are unsatisfiable.",
                "",
                "hint: An index (http://host/simple) returned a 403 Forbidden error. Check "
                "that the index URL is correct and the credentials are valid.",
            ],
            "Package 'six' was not found, and index http://host/simple answers 403 Forbidden. "
            "Check the name, and the credentials of the index.",
        ),
        (
            [
                "error: Failed to fetch: `https://host/simple/six/`",
                "  cause: error sending request for url (https://host/simple/six/)",
            ],
            "https://host/simple/six/ cannot be fetched. Check the address of the index, and "
            "the network.",
        ),
        (
            ["error: unexpected argument '--preview-features' found"],
            "uv is too old, it does not know '--preview-features'. Run "
            "'pip install --upgrade uv'.",
        ),
        (
            [
                "error: Not a valid `pylock.toml` file: pylock.toml",
                "  cause: TOML parse error at line 11, column 9",
                "            |",
                "         11 | sdist = { size = 78465 }",
                "            |         ^^^^^^^^^^^^^^^^",
                "         missing field `hashes`",
            ],
            "Not a valid `pylock.toml` file: pylock.toml: line 11: missing field `hashes`.",
        ),
        (
            [
                "error: Failed to download `six==1.0`",
                "  cause: Hash mismatch for `six==1.0`",
                "         Expected:",
                "           sha256:0000",
                "         Computed:",
                "           sha256:ce28",
            ],
            "Hash mismatch: the file of six==1.0 has sha256:ce28, and sha256:0000 was locked. "
            "If it may have changed, make the lock anew.",
        ),
    ],
)
def test_plain_reasons(lines: list[str], reason: str) -> None:
    """What an index or a file has done wrong is said in one sentence, without passwords."""
    error = build_error("virtualenv", lines, [parse_entry("six")], 1)
    assert error.reason == reason
    assert "hunter2" not in str(error)
