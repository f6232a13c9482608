"""
The table of errors: what a mistake says, in a program of the user.

Each row is a program, or a command line over files. The last words of its standard error are
what stands in the row, and its traceback has one frame of fal-core at most: the call itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import attrs
import pytest

pytestmark = pytest.mark.timeout(600)

#: Seconds that a program may take; most take one. They are for a machine that is busy.
PATIENCE = 550

#: Packages of which a traceback shows one frame at most.
OURS = re.compile(r'^  File ".*/(?:fal_core\w*|fal_host_\w+|fal_env_\w+|fal_serve\w*)/', re.M)


@attrs.frozen(kw_only=True)
class Row:
    """
    A mistake, and what is said of it.

    Attributes:
        says: A pattern that standard error has to match at its end.

        program: The lines of ``main.py``.

        command: What is run beside it: a module and its arguments. None runs ``main.py``.

        needs: Packages without which the row is left out.

        variables: Environment variables; None removes one.

        never: What standard error has nowhere; empty for nothing.

        code: The exit code.

        python: The first version of Python that says so.
    """

    says: str
    program: str
    command: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    variables: dict[str, str | None] = attrs.field(factory=dict)
    never: str = ""
    code: int = 1
    python: tuple[int, int] = (3, 10)


ROWS = {
    "an argument is missing": Row(
        program="""
        from fal_core import function

        @function("current")
        def f(x, y):
            return x

        f(1)
        """,
        says=r"TypeError: f\(\) missing 1 required positional argument: 'y'",
    ),
    "an argument of a submitted call is missing": Row(
        program="""
        from fal_core import function

        @function("current")
        def f(x, y):
            return x

        f.submit(1, z=2)
        """,
        says=r"TypeError: f\(\) got an unexpected keyword argument 'z'.*",
    ),
    "the function raises": Row(
        program="""
        from fal_core import function

        @function("current")
        def f(x):
            return 1 / x

        f(0)
        """,
        says=r"ZeroDivisionError: division by zero",
    ),
    "a method raises": Row(
        program="""
        from fal_core import function

        class Model:
            @function("current")
            def f(self, x):
                return 1 / x

        Model().f(0)
        """,
        says=r"ZeroDivisionError: division by zero",
    ),
    "a submitted call raises": Row(
        program="""
        from fal_core import function

        @function("current")
        def f(x):
            return 1 / x

        f.submit(0).result()
        """,
        says=r"ZeroDivisionError: division by zero",
    ),
    "a spawned call raises": Row(
        program="""
        from fal_core import function

        @function("current")
        def f(x):
            return 1 / x

        f.spawn(0).return_value
        """,
        says=r"ZeroDivisionError: division by zero",
    ),
    "an awaited call raises": Row(
        program="""
        import asyncio
        from fal_core import function

        @function("current")
        def f(x):
            return 1 / x

        async def main():
            await f.aio(0)

        asyncio.run(main())
        """,
        says=r"ZeroDivisionError: division by zero",
    ),
    "a generator raises": Row(
        program="""
        from fal_core import function

        @function("current")
        def f(x):
            yield 1 / x

        list(f(0))
        """,
        says=r"ZeroDivisionError: division by zero",
    ),
    "one item of a map raises": Row(
        program="""
        from fal_core import function

        @function("current")
        def f(x):
            return 1 / x

        list(f.map([2, 1, 0]))
        """,
        says=r"ZeroDivisionError: division by zero\nitem 2 of the map: \(0,\)",
        python=(3, 11),
    ),
    "what is mapped over raises": Row(
        program="""
        from fal_core import function

        def items():
            yield 1
            raise LookupError("no more")

        @function("current")
        def f(x):
            return x

        list(f.map(items()))
        """,
        says=r'in items\n    raise LookupError\("no more"\)\nLookupError: no more',
    ),
    "a function raises here": Row(
        program="""
        from fal_core import function

        @function("current")
        def f(x):
            raise LookupError("not here")

        f.run_local(1)
        """,
        says=r'in f\n    raise LookupError\("not here"\)\nLookupError: not here',
    ),
    "the worker is killed": Row(
        program="""
        import os, signal
        from fal_core import function

        @function("current")
        def f():
            os.kill(os.getpid(), signal.SIGKILL)

        f()
        """,
        says=r"WorkerLost: Worker of 'f' was killed \(SIGKILL\); "
        r"peak memory [\d.]+ [kMG]B of [\d.]+ [GT]B\.",
    ),
    "the worker crashes": Row(
        program="""
        import ctypes
        from fal_core import function

        @function("current")
        def f():
            ctypes.c_int.from_address(0).value = 1

        f()
        """,
        says=r"WorkerLost: Worker of 'f' crashed \(SIGSEGV\) in f, line 6\.",
    ),
    "the worker aborts": Row(
        program="""
        import os
        from fal_core import function

        @function("current")
        def f():
            os.abort()

        f()
        """,
        says=r"WorkerLost: Worker of 'f' crashed \(SIGABRT\) in f, line 6\.",
    ),
    "a coroutine is not awaited": Row(
        program="""
        import asyncio
        from fal_core import function

        @function("current")
        def f():
            pass

        async def main():
            f.aio()

        asyncio.run(main())
        """,
        says=r"RuntimeWarning: coroutine 'f' was never awaited\n(?s:.*)",
        code=0,
    ),
    "a function asks its terminal": Row(
        program="""
        from fal_core import function

        @function("current")
        def f():
            return input("Name? ")

        f()
        """,
        says=r"EOFError: A worker has no terminal; pass the answer as an argument\.",
    ),
    "options are given by position": Row(
        program="""
        from fal_core import function

        @function("virtualenv", ["humanize"])
        def f():
            pass
        """,
        says=r'OptionError: Options are keywords: requirements=\["humanize"\]\.',
        needs=("fal_env_virtualenv",),
    ),
    "a requirement is nowhere": Row(
        program="""
        from fal_core import function

        @function("virtualenv", requirements=["humanizzz"])
        def f():
            pass

        f()
        """,
        says=r"EnvironmentBuildError: The virtualenv environment could not be built at "
        r"requirement 'humanizzz': No package is called 'humanizzz' \(looked .*\)\. "
        r"Check requirements of 'f'\.",
        needs=("fal_env_virtualenv",),
        variables={"UV_NO_INDEX": "1", "UV_FIND_LINKS": "."},
    ),
    "a Python is not installed": Row(
        program="""
        from fal_core import function

        @function("virtualenv", python_version="3.99")
        def f():
            pass

        f()
        """,
        says=r"PythonNotInstalled: Python 3\.99 is not installed\. Found: 3\..*\. "
        r"`uv python install 3\.99` installs one\.",
        needs=("fal_env_virtualenv",),
    ),
    "a requirement is imported at the top": Row(
        program="""
        import humanizzz
        from fal_core import function

        @function("virtualenv", requirements=["humanizzz"])
        def f():
            return humanizzz
        """,
        command=("fal_core.cli", "run", "main.py"),
        says=r"Error: main\.py:1: humanizzz is in requirements of 'f': import it in 'f', or "
        r"under `with imports\(\):`\.",
        needs=("fal_env_virtualenv",),
    ),
    "one colon too few": Row(
        program="""
        from fal_core import function

        @function("current")
        def f():
            pass
        """,
        command=("fal_core.cli", "run", "main.py:f"),
        says=r"Error: There is no module main\.py:f\. Write two colons: 'main\.py::f'\.",
        code=2,
    ),
    "an option of a command is mistyped": Row(
        program="""
        from fal_core import function

        @function("current")
        def f():
            pass
        """,
        command=("fal_core.cli", "run", "main.py::f", "--prot", "8000"),
        says=r"Error: f has no argument 'prot'\. .*Did you mean the option '--port'\?\n.*",
        code=2,
    ),
    "one item of a map raises in a command": Row(
        program="""
        from fal_core import function

        @function("current")
        def f(x):
            return 1 / x
        """,
        command=("fal_core.cli", "run", "main.py::f", "--map", "--input", "[1, 0]"),
        says=r"ZeroDivisionError: division by zero\nitem 1 of the map: \(0,\)\n"
        r"Error: The function raised ZeroDivisionError\.",
        python=(3, 11),
    ),
    "an option has a wrong type": Row(
        program="""
        from fal_core import function

        @function("virtualenv", requirements=3)
        def f():
            pass
        """,
        says=r"OptionTypeError: Option 'requirements' must be .*",
        needs=("fal_env_virtualenv",),
    ),
    "a kind that nobody knows": Row(
        program="""
        from fal_core import function

        @function("nokind")
        def f():
            pass
        """,
        says=r"UnknownNameError: No kind of environment is called 'nokind'\. .*",
    ),
    "the kind current is deployed": Row(
        program="""
        from fal_core import function

        @function("current", host="serverless")
        def f():
            pass

        f()
        """,
        says=r"UnsupportedError: Host 'serverless' cannot run kind 'current'\. It runs .*\. "
        r"In .*main\.py, line 3, write 'virtualenv', with the packages that it imports as "
        r"requirements=\[…\]\.",
        needs=("fal_host_serverless",),
    ),
    "there are no credentials": Row(
        program="""
        from fal_core import function

        @function("virtualenv", host="serverless")
        def f():
            pass

        f()
        """,
        says=r"There are no credentials\. Set FAL_KEY .*; or, for a server of your own, run "
        r'`eval "\$\(fal-core server env\)"`\.',
        needs=("fal_host_serverless", "fal_env_virtualenv"),
        variables={"FAL_KEY": None, "FAL_KEY_ID": None, "FAL_KEY_SECRET": None, "HOME": "."},
    ),
    "a server has a certificate that nobody vouches for": Row(
        program="""
        import datetime, os, socket, ssl, threading
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from fal_core import function

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "own")])
        now = datetime.datetime.now(datetime.timezone.utc)
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key.public_key()).serial_number(1)
            .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        form = serialization.Encoding.PEM
        with open("own.pem", "wb") as file:
            file.write(made.public_bytes(form))
            plain = serialization.NoEncryption()
            file.write(key.private_bytes(form, serialization.PrivateFormat.PKCS8, plain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("own.pem")
        context.set_alpn_protocols(["h2"])
        listener = socket.create_server(("127.0.0.1", 0))

        def answer(taken):
            secured = context.wrap_socket(
                taken, server_side=True, do_handshake_on_connect=False
            )
            try:
                secured.do_handshake()
            except OSError:
                # One that is closed with bytes unread is reset, whatever it has sent.
                while socket.socket.recv(secured, 4096):
                    pass
            secured.close()

        def listen():
            while True:
                taken = listener.accept()[0]
                threading.Thread(target=answer, args=(taken,), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        os.environ["FAL_GRPC_HOST"] = f"127.0.0.1:{listener.getsockname()[1]}"
        os.environ["FAL_REST_HOST"] = os.environ["FAL_GRPC_HOST"]

        @function("virtualenv", host="serverless")
        def f():
            pass

        f()
        """,
        says=r"127\.0\.0\.1:\d+/? has a certificate that this machine does not trust\. For a "
        r'server of your own, run `eval "\$\(fal-core server env\)"`, which names its bundle '
        r"of certificates\.",
        never="Handshake failed|_MultiThreadedRendezvous",
        needs=("fal_host_serverless", "fal_env_virtualenv", "cryptography", "grpc"),
        variables={"FAL_KEY": "id:secret", "HOME": ".", "SSL_CERT_FILE": None},
    ),
    "a client is given no URL": Row(
        program="""
        import fal_serve

        class Reader(fal_serve.App):
            @fal_serve.endpoint("/")
            def read(self) -> str:
                return ""

        fal_serve.AppClient(Reader, "nourl")
        """,
        says=r"ValueError: 'nourl' is no URL\. Write http://nourl or https://nourl",
        needs=("fal_serve",),
    ),
    "a client has no key": Row(
        program="""
        import http.server, threading
        import fal_serve

        class Refusing(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.send_response(401)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Reader(fal_serve.App):
            @fal_serve.endpoint("/")
            def read(self) -> str:
                return ""

        server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        fal_serve.AppClient(Reader, f"http://127.0.0.1:{server.server_port}").read()
        """,
        says=r"answered 401\. No key was sent, as FAL_KEY is not set\.",
        needs=("fal_serve",),
        variables={"FAL_KEY": None},
    ),
}


_OF_CLIENTS = re.compile("ISOLATE_|FAL_(?!CORE_)")


@pytest.mark.parametrize("name", ROWS)
def test_a_mistake_says_what_to_do(name: str, tmp_path: Path) -> None:
    """The error of a mistake ends with its sentence, and begins at the user's own line."""
    row = ROWS[name]
    for package in row.needs:
        pytest.importorskip(package)
    if sys.version_info < row.python:
        pytest.skip(f"Python {sys.version_info.minor} shows no notes.")
    (tmp_path / "main.py").write_text(textwrap.dedent(row.program).lstrip(), "utf-8")
    # What other tests of this process have set for clients is not the user's.
    own = {name: os.environ[name] for name in os.environ if not _OF_CLIENTS.match(name)}
    variables = {**own, "COLUMNS": "80", "NO_COLOR": "1"}
    for variable, value in row.variables.items():
        variables.pop(variable, None)
        if value is not None:
            variables[variable] = str(tmp_path) if value == "." else value
    told = ("main.py",) if row.command is None else ("-m", *row.command)
    done = subprocess.run(
        [sys.executable, *told],
        cwd=tmp_path,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert re.search(rf"{row.says}\s*\Z", done.stderr), done.stderr
    assert done.returncode == row.code
    assert not (row.never and re.search(row.never, done.stderr)), done.stderr
    assert len(OURS.findall(done.stderr)) <= 1, done.stderr
