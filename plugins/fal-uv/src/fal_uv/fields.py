"""
Options of kinds of environments: how what users write becomes values, and is shown.

Every program that declares a function of any kind imports this module, so what only
requirements need is imported by the functions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs

from fal_core.errors import OptionError

if TYPE_CHECKING:
    from fal_uv.installing.package_requests import PackageRequest

Layers = tuple[tuple[str, ...], ...]


def to_layers(
    requirements: Iterable[str] | Iterable[Iterable[str]],
) -> tuple[str, ...] | Layers:
    """
    Return requirements, or layers of them, with absolute paths.

    Raises:
        OptionError: One of them is none.
    """
    if requirements == ():
        return ()
    from fal_uv.requirements.entries import parse_layers

    return parse_layers(requirements)


def to_texts(
    texts: Iterable[str], *, show: Callable[[object], str] | None = None
) -> tuple[str, ...]:
    """
    Return a list of texts as a tuple.

    Arguments:
        show: Shows one in an error. By default :func:`masked_repr`.

    Raises:
        OptionError: It is a text itself, or has something else in it.
    """
    if isinstance(texts, str):
        shown = (show or masked_repr)(texts)
        raise OptionError(f"A list of str is needed, not the str {shown}.")
    found = tuple(texts)
    for text in found:
        if not isinstance(text, str):
            raise OptionError(f"A list of str is needed, and it has {text!r}.")
    return found


def to_absolute_path(path: str | os.PathLike[str] | None) -> str | None:
    """Return *path* as it is found from any directory; None stays None."""
    return None if path is None else os.path.abspath(os.path.expanduser(path))


def masked_repr(value: object) -> str:
    """Show *value* with asterisks in place of the credentials in its URLs."""
    from fal_uv.requirements.url_credentials import mask

    return mask(repr(value))


def refuse_for_service(environment: object, names: Iterable[str]) -> None:
    """
    Check that *environment* has none of the options *names*, which a service that builds the
    environment itself is not told.

    Raises:
        OptionError: It has one.
    """
    for name in names:
        if getattr(environment, name):
            raise OptionError(
                f"Option {name!r} is not for a service that builds the environment itself."
                " Leave it out there, or use another host."
            )


@attrs.frozen(kw_only=True)
class PackageOptions:
    """
    Options that say which packages uv installs, and where they come from.

    Attributes:
        requirements: Entries, or layers of entries: each layer is installed after the
            one before it, and changes nothing there. An entry is a package with
            versions, a URL as in ``git+https://…``, a local project as in
            ``./project`` or ``-e ./project``, or a file that lists requirements, as in
            ``requirements.txt``, ``pyproject.toml``, a program with inline metadata, or a
            ``pylock.toml``, whose files are installed with the hashes that it has, or one of
            pip's flags ``--extra-index-url``, ``--index-url``, ``--find-links``, ``--pre`` and
            ``--no-deps``. In place of a list, ``SCRIPT`` stands for the file that the function
            is written in.

        constraints_file: A file of versions that what is installed must have.

        index_url: The index in place of the usual default one.

        extra_index_urls: Indexes that are searched before the usual ones.

        torch_backend: Which builds of PyTorch are taken: ``auto`` for what this machine has,
            or one of uv's names, as in ``cpu`` or ``cu128``.

        exclude_newer: A date, or how long ago, as in ``7 days``. Nothing that was published
            later is installed.

        project: The directory of a project with a ``uv.lock``, which is installed as that
            says, with the projects of its workspace that it needs.

        groups: Groups of dependencies of the project, beside its own dependencies.

        extras: Optional dependencies of the project.

        frozen: Use the ``uv.lock`` of the project though its ``pyproject.toml`` asks for
            something else by now.
    """

    requirements: tuple[str, ...] | Layers = attrs.field(
        default=(), converter=to_layers, repr=masked_repr
    )
    constraints_file: str | os.PathLike[str] | None = attrs.field(
        default=None, converter=to_absolute_path
    )
    index_url: str | None = attrs.field(default=None, repr=masked_repr)
    extra_index_urls: tuple[str, ...] = attrs.field(
        default=(), converter=to_texts, repr=masked_repr
    )
    torch_backend: str | None = None
    exclude_newer: str | None = None
    project: str | os.PathLike[str] | None = attrs.field(
        default=None, converter=to_absolute_path
    )
    groups: tuple[str, ...] = attrs.field(default=(), converter=to_texts)
    extras: tuple[str, ...] = attrs.field(default=(), converter=to_texts)
    frozen: bool = False

    @property
    def layers(self) -> Layers:
        """The requirements as layers, even if they were declared without."""
        entries = tuple(each for each in self.requirements if isinstance(each, str))
        layers = tuple(each for each in self.requirements if not isinstance(each, str))
        return (entries,) if entries else layers

    def package_request(self, *, editable: bool = True) -> PackageRequest:
        """
        Return which packages are asked for.

        Arguments:
            editable: Whether the sources of *project* are read in place.
        """
        from fal_uv.installing.package_requests import PackageRequest

        constraints = self.constraints_file
        project = None
        if self.project is not None:
            from fal_uv.requirements.settled import of_project

            project = of_project(
                os.fspath(self.project),
                groups=self.groups,
                extras=self.extras,
                frozen=self.frozen,
                editable=editable,
            )
        layers, index_url, extra = self.layers, self.index_url, self.extra_index_urls
        links: tuple[str, ...] = ()
        if self._has_flags:
            from fal_uv.requirements.flags import take_places

            layers, places = take_places(layers)
            index_url = index_url or places.index_url
            extra, links = (*extra, *places.extra_index_urls), places.find_links
        return PackageRequest(
            layers=layers,
            constraints_file=None if constraints is None else os.fspath(constraints),
            index_url=index_url,
            extra_index_urls=extra,
            find_links=links,
            torch_backend=self.torch_backend,
            exclude_newer=self.exclude_newer,
            project=project,
        )

    @property
    def names_files(self) -> bool:
        """Whether files say what is required: those of a project, or some among the requirements."""
        return self.project is not None or any(
            entry.startswith("-r ") for layer in self.layers for entry in layer
        )

    @property
    def _has_flags(self) -> bool:
        return any(entry.startswith("--") for layer in self.layers for entry in layer)

    def check_packages(self) -> None:
        """
        Check the options.

        Raises:
            OptionError: One of them is wrong, or two are at odds.
        """
        if self.project is None and (self.groups or self.extras or self.frozen):
            raise OptionError(
                "Options 'groups', 'extras' and 'frozen' are of a project. Name it with "
                "project='.'."
            )
        if self.constraints_file is not None and not os.path.isfile(self.constraints_file):
            raise OptionError(
                f"Option 'constraints_file' names {self.constraints_file}, "
                "but there is no such file."
            )
        if self._has_flags:
            from fal_uv.requirements.flags import take_places

            named = take_places(self.layers)[1].index_url
            if named and self.index_url and named != self.index_url:
                raise OptionError(
                    "Option 'index_url' and a flag '--index-url' of the requirements name two "
                    "indexes. Leave out one of them."
                )
        if self.names_files or self.torch_backend is not None or self.exclude_newer is not None:
            from fal_uv.installing.request_checks import check_request

            check_request(self.package_request())

    def check_for_service(self, *, untold: tuple[str, ...] = ()) -> None:
        """
        Check that a service which builds the environment itself can follow the options.

        Arguments:
            untold: Names of further options that it is not told.

        Raises:
            OptionError: It cannot follow one.
        """
        names = ("project", "index_url", "torch_backend", "exclude_newer", *untold)
        refuse_for_service(self, names)
        if self.names_files or self._has_flags:
            from fal_uv.requirements.entries import check_for_service

            check_for_service(self.layers)
