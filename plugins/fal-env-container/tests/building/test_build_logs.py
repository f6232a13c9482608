"""What engines print during a build, read and passed on."""

from __future__ import annotations

from typing import Any

from fal_core.events import Log
from fal_env_container.building.build_logs import BuildLog

#: Of Docker 26, with its own lines and the summary at its end.
KIT = """\
#0 building with "default" instance using docker driver
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 654B done
#3 [stage-0 1/3] FROM localhost/tests/tiny:1
#3 DONE 0.1s
#5 [stage-0 2/3] COPY a.txt /a
#5 CACHED
#6 [stage-0 3/3] RUN echo failing; exit 3
#6 0.312 failing
#6 ERROR: process "/bin/sh -c echo failing; exit 3" did not complete successfully: exit code: 3
------
 > [stage-0 3/3] RUN echo failing; exit 3:
0.312 failing
------
Dockerfile:3
ERROR: failed to solve: process "/bin/sh -c x" did not complete successfully: exit code: 3
"""

#: Of Podman, with an instruction that was added behind FROM, and the label at the end.
PODMAN = """\
STEP 1/4: FROM localhost/tests/tiny:1
STEP 2/4: ARG SSL_CERT_FILE=/x
--> 39daa1e708b1
STEP 3/4: RUN --mount=x echo hidden
*** hidden
time="2026-11-27T20:32:50Z" level=warning msg="no \\"network\\""
time="2026-11-27T20:32:50Z" level=error msg="unable to cleanup"
Error: building at STEP "RUN false": while running runtime: exit status 1
STEP 4/4: LABEL "a"="b"
b3230fd680cfdc17a382f21963855eea1e6547269c47958d9a43a705b247169b
"""


def read(text: str, **settings: Any) -> tuple[BuildLog, list[str]]:
    lines: list[Log] = []
    log = BuildLog(lines.append, **settings)
    for line in text.splitlines():
        log.write(line)
    return log, [f"{line.level} {line.message}" for line in lines]


def test_lines_of_buildkit():
    """Steps are told as those of Podman; the engine's own lines and its summary are not."""
    log, said = read(KIT)
    assert said == [
        "INFO STEP 1/3: FROM localhost/tests/tiny:1",
        "INFO STEP 2/3: COPY a.txt /a",
        "INFO CACHED",
        "INFO STEP 3/3: RUN echo failing; exit 3",
        "INFO failing",
    ]
    assert str(log.step) == "step 3 of 3, 'RUN echo failing; exit 3',"
    assert log.last_lines == ("failing",)
    assert log.problem.endswith("exit code: 3")


def test_lines_of_podman():
    """
    Steps have the numbers that they have for the user, warnings their level, and errors are
    kept for the error.
    """
    log, said = read(PODMAN, added=1, unsaid=" --mount=x", hidden=("hidden",))
    assert said == [
        "INFO STEP 1/2: FROM localhost/tests/tiny:1",
        "INFO --> 39daa1e708b1",
        "INFO STEP 2/2: RUN echo ***",
        "INFO *** ***",
        'WARNING no "network"',
    ]
    assert log.last_lines == ("*** ***",)
    assert log.problem.startswith("building at STEP")
    assert not log.says_disk_is_full
    log.begin()
    assert log.problem == "it does not say why"
    log.write("write /x: no space left on device")
    assert log.says_disk_is_full
    log.write('time="2026-11-27T20:32:50Z" level=fatal msg="no \\"such\\" builder"')
    assert log.problem == 'no "such" builder'


def test_steps_of_stages():
    """Only the last stage has the label."""
    _, said = read("[1/2] STEP 2/3: RUN a\n[2/2] STEP 2/3: RUN b\n[2/2] STEP 3/3: LABEL c")
    assert said == ["INFO [1/2] STEP 2/3: RUN a", "INFO [2/2] STEP 2/2: RUN b"]
