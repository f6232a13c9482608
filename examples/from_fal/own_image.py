"""A container: the image of an application is built of a Dockerfile."""

from __future__ import annotations

import os

import fal_compat as fal

DOCKERFILE = """
FROM docker.io/library/python:3-slim
ARG GREETING=hello
ENV GREETING=$GREETING
"""


class OwnImage(fal.App, keep_alive=60):
    machine_type = "S"
    image = fal.ContainerImage.from_dockerfile_str(
        DOCKERFILE, build_args={"GREETING": "good day"}
    )

    @fal.endpoint("/")
    def greet(self, name: str = "you") -> dict[str, str]:
        return {"greeting": f"{os.environ.get('GREETING', 'hello')}, {name}"}
