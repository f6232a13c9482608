"""What builds take over from the caller, and what stays out of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_builders import ImageBuilder

from fal_core.errors import EnvironmentBuildError
from fal_env_container.building.caller_settings import (
    Certificates,
    loopback_proxies,
    proxies,
)

SECRET = "hidden-value-of-a-secret"


def test_certificates_are_in_steps_alone(tmp_path: Path):
    """Each step that runs a program sees the files that the caller's variables name."""
    path = tmp_path / "ca.pem"
    path.write_text("certificate")
    written = {"SSL_CERT_FILE": str(path), "PIP_CERT": str(path), "CURL_CA_BUNDLE": "/absent"}
    certificates = Certificates.of_caller(written)
    text = "FROM a AS b\nRUN pip x\nRUN --network=none y\nFROM c\nCOPY x /x\nrun \\\n  z"
    first, second = "/run/fal-core/fal-core-certificates-1.pem", "fal-core-certificates-1"
    declared = f"ARG SSL_CERT_FILE={first} PIP_CERT={first}\n"
    mount = f" --mount=type=secret,id={second},target={first},mode=0444"
    assert certificates.add_to(text) == (
        f"FROM a AS b\n{declared}RUN{mount} pip x\nRUN --network=none y\n"
        f"FROM c\n{declared}COPY x /x\nrun{mount} \\\n  z"
    )
    lines = [certificates.line_before(text, number) for number in range(1, 10)]
    assert lines == [1, 1, 2, 3, 4, 4, 5, 6, 7]
    assert certificates.options() == [f"--secret=id={second},src={path}"]
    assert Certificates.of_caller({}).add_to(text) == text


@pytest.mark.parametrize(
    ("proxy", "is_told"),
    [
        ("http://127.0.0.1:3128", True),
        ("http://user:word@localhost:3128/", True),
        ("socks5h://[::1]:1080", True),
        ("127.0.0.2:80", True),
        ("http://10.0.0.1:3128", False),
        ("proxy.example:3128", False),
        ("http://[broken", False),
    ],
)
def test_proxies_on_the_loopback_are_known(proxy: str, is_told: bool):
    """They are told from those that other machines reach, however they are written."""
    found = loopback_proxies({"HTTPS_PROXY": proxy, "NO_PROXY": "localhost"})
    assert found == ({"HTTPS_PROXY": proxy} if is_told else {})


def test_build_trusts_what_the_caller_trusts(
    build: ImageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    Steps see the caller's certificates and proxies, whatever user they are; the image has
    neither.
    """
    path = tmp_path / "ca.pem"
    path.write_text("a certificate of the caller")
    for name in Certificates.of_caller().variables:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert proxies()["HTTPS_PROXY"] == "http://proxy.example:3128"
    text = 'RUN cat "$SSL_CERT_FILE" && echo && echo via $HTTPS_PROXY\n'
    environment = build.declare(f"USER 1000\n{text}")
    image = build(environment)
    assert "a certificate of the caller" in build.messages
    assert "via http://proxy.example:3128" in build.messages
    steps = [line for line in build.messages if line.startswith("STEP")]
    first = [f"STEP 1/3: FROM {build.base}", "STEP 2/3: USER 1000"]
    assert steps == [*first, f"STEP 3/3: {text.strip()}"]
    assert "proxy.example" not in build.engine.run("image", "inspect", image.id)
    key = environment.key
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("HTTPS_PROXY")
    assert (environment.key, environment.is_built()) == (key, True)
    found = build.read(image, "sh", "-c", "cat /run/fal-core/*; env; true")
    assert "certificate" not in found
    assert "PROXY" not in found


def test_secrets_are_in_no_layer_and_no_key(build: ImageBuilder):
    """
    A step sees the secrets that it asks for; the image, its history, its key, the cache and
    the log lines do not have them.
    """
    text = (
        "RUN --mount=type=secret,id=TOKEN cat /run/secrets/TOKEN && echo && echo done > /done\n"
    )
    environment = build.declare(text, secrets={"TOKEN": SECRET})
    key = environment.key
    image = build(environment)
    assert "***" in build.messages
    assert not any(SECRET in line for line in build.messages)
    archive = build.folder.parent / "image.tar"
    build.engine.run("save", "--output", str(archive), image.id)
    assert SECRET.encode() not in archive.read_bytes()
    assert "/done" in build.read(image, "ls", "/done")
    for path in (build.folder.parent / "cache").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    with pytest.raises(EnvironmentBuildError, match="'TOKEN' of the image has no value here"):
        build(build.declare(f"{text}RUN true\n", secrets={"TOKEN": ""}))
    other = build.declare(text, secrets={"TOKEN": "another"})
    assert (other.key, other.is_built()) == (key, True)
    with pytest.raises(EnvironmentBuildError) as caught:
        build(build.declare(f"{text}RUN false\n", secrets={"TOKEN": SECRET}))
    assert SECRET not in str(caught.value)


def test_no_line_of_a_secret_is_logged(build: ImageBuilder):
    """A secret that was read from a file ends with a line, and a key has many."""
    text = "RUN --mount=type=secret,id=KEY cat /run/secrets/KEY\n"
    build(build.declare(text, secrets={"KEY": f"-----BEGIN\n{SECRET}\n{{\n"}))
    assert "***" in build.messages
    assert "{" in build.messages
    assert SECRET not in "".join(build.messages)
