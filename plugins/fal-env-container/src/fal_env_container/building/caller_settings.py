"""
What a build takes over from the caller: certificates and proxies, and whose it is.

Programs that a build runs must trust what the caller trusts, as a proxy that signs anew, and
must go the caller's way out. Neither becomes part of the image or of its key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import attrs

from fal_env_container.images.instructions import Instruction, parse

#: Variables that name a file of certificates.
CERTIFICATE_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
)

#: Variables of proxies; engines pass those on that their own documentation names.
PROXY_VARIABLES = tuple(
    spelled
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for spelled in (name, name.lower())
)

#: The argument that keeps the steps of one build from being those of another.
_MARK = "FAL_CORE_TENANT"

#: Where the files are while a step runs.
_FOLDER = "/run/fal-core"


@attrs.frozen
class Certificates:
    """
    Files of certificates of the caller, and the variables that name them.

    Attributes:
        files: For each path of this machine the name of the secret that brings it.

        variables: For each variable the path at which a step sees its file.

        mark: A text that each step knows, so that it shares nothing with a step of a build
            whose mark is another. Empty where it may share.
    """

    files: Mapping[str, str]
    variables: Mapping[str, str]
    mark: str = ""

    @classmethod
    def of_caller(
        cls, variables: Mapping[str, str] | None = None, *, mark: str = ""
    ) -> Certificates:
        """Return those that the environment variables name."""
        written = os.environ if variables is None else variables
        files: dict[str, str] = {}
        named: dict[str, str] = {}
        for variable in CERTIFICATE_VARIABLES:
            path = os.path.realpath(written.get(variable) or "/nowhere")
            if os.path.isfile(path):
                secret = files.setdefault(path, f"fal-core-certificates-{len(files) + 1}")
                named[variable] = f"{_FOLDER}/{secret}.pem"
        return cls(files, named, mark)

    @property
    def declares(self) -> bool:
        """Whether an instruction is added to each stage."""
        return bool(self.files or self.mark)

    @property
    def mounts(self) -> str:
        """What is added to each step that runs a program, regardless of the step's user."""
        return "".join(
            f" --mount=type=secret,id={secret},target={_FOLDER}/{secret}.pem,mode=0444"
            for secret in self.files.values()
        )

    def add_to(self, text: str) -> str:
        """Return the Dockerfile *text* with the certificates in each step that runs a program."""
        if not self.declares:
            return text
        mounts = self.mounts
        values = {**self.variables, **({_MARK: self.mark} if self.mark else {})}
        pairs = " ".join(f"{name}={value}" for name, value in values.items())
        declared = f"ARG {pairs}\n"
        parts, position = [], 0
        for instruction in parse(text):
            if instruction.keyword == "RUN" and not _is_without_files(instruction):
                parts += [text[position : instruction.after_keyword], mounts]
                position = instruction.after_keyword
            elif instruction.keyword == "FROM":
                line = text[position : instruction.end]
                parts += [line, "" if line.endswith("\n") else "\n", declared]
                position = instruction.end
        return "".join((*parts, text[position:]))

    def line_before(self, text: str, number: int) -> int:
        """
        Return the number of the line of the Dockerfile *text* that is line *number* of what
        :meth:`add_to` made of it.
        """
        if self.declares:
            for instruction in parse(text):
                if instruction.keyword == "FROM":
                    number -= number > text.count("\n", 0, instruction.end)
        return number

    def options(self) -> list[str]:
        """Return the options of a build that bring the files."""
        return [f"--secret=id={secret},src={path}" for path, secret in self.files.items()]


def _is_without_files(instruction: Instruction) -> bool:
    """Tell whether a step has no network, and so no use for certificates."""
    return dict(instruction.flags).get("network") == "none"


def proxies(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the proxies that the environment variables name."""
    written = os.environ if variables is None else variables
    return {name: written[name] for name in PROXY_VARIABLES if written.get(name)}


def loopback_proxies(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return those proxies that only programs in the network of this machine reach."""
    return {
        name: value
        for name, value in proxies(variables).items()
        if name.upper() != "NO_PROXY" and _is_loopback(value)
    }


def _is_loopback(url: str) -> bool:
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False  # A name, or nothing that can be understood.
