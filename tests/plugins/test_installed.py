"""The plugins of this process, and the hosts that it shares."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any, ClassVar

import attrs
import pytest
from plugin_examples import plugin

from fal_core import function
from fal_core.errors import OptionError, PluginError, UnknownNameError
from fal_core.events import Sink
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.options import HostOptions
from fal_core.plugins import installed as plugins


@attrs.define(eq=False, slots=False)
class Placed(Host[..., Any]):
    """A host that takes any address and runs nothing."""

    name: ClassVar[str] = "placed"

    address: str = ""
    closed: bool = False

    @classmethod
    def from_url(cls, url: str) -> Placed:
        return cls(url)

    def launch(self, call: Any, sink: Sink) -> Execution:
        raise AssertionError(call, sink)

    def close(self) -> None:
        self.closed = True


def test_equal_urls_share_a_host() -> None:
    """One name or URL is one host, and another URL another."""
    with plugins.registered(plugin([Placed])):
        assert plugins.find_host("placed") is plugins.find_host("placed")
        assert plugins.find_host("placed://a") is plugins.find_host("placed://a")
        assert plugins.find_host("placed://a") is not plugins.find_host("placed://b")
        host: Any = plugins.find_host("placed://a")
        assert host.address == "placed://a"


def test_many_threads_share_one_host() -> None:
    """Threads that ask for a host at once get the same one."""
    from concurrent.futures import ThreadPoolExecutor

    with plugins.registered(plugin([Placed])), ThreadPoolExecutor(16) as executor:
        found = list(executor.map(plugins.find_host, ["placed://x"] * 200))
    assert len(set(found)) == 1


# Event threads of tests before it.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_makes_hosts_of_its_own() -> None:
    """A forked child never uses a host that its parent made, and can ask for one."""
    with plugins.registered(plugin([Placed])):
        host = plugins.find_host("placed")
        with plugins._lock:
            child = os.fork()
            if child == 0:
                os._exit(0 if plugins.find_host("placed") is not host else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert plugins.find_host("placed") is host


def test_registered_plugin_is_gone_after_the_context() -> None:
    """A plugin registered for a test leaves no name, and its hosts are closed."""
    before = plugins.load_plugins()
    with plugins.registered(plugin([Placed])) as inside:
        assert inside.hosts["placed"] is Placed
        host: Any = plugins.find_host("placed")
    assert host.closed
    assert plugins.load_plugins() is before
    with pytest.raises(UnknownNameError, match="No host is called 'placed'"):
        plugins.find_host("placed")


def test_registered_plugins_nest() -> None:
    """Contexts nest; a name that is taken is refused, and its first owner stays."""
    with plugins.registered(plugin([Placed])):
        with plugins.registered(plugin()):
            assert plugins.find_host("placed") is plugins.find_host("placed")
        with (
            pytest.raises(PluginError, match=r"'registered-1'.*is loaded already"),
            plugins.registered(plugin(), "registered-1"),
        ):
            pytest.fail("the context was entered")
        assert plugins.load_plugins().hosts["placed"] is Placed


@attrs.define(eq=False, slots=False)
class Computing(Placed):
    """A host whose options and capabilities depend on where it is."""

    name: ClassVar[str] = "computing"

    @cached_property
    def options(self) -> type[HostOptions]:  # type: ignore[override]  # its own
        return attrs.make_class(
            f"OptionsOf{len(self.address)}", (), bases=(HostOptions,), frozen=True, kw_only=True
        )

    @cached_property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # its own
        return Capabilities.of_workers(kinds=None)


def test_options_may_be_computed_once() -> None:
    """A host may compute its options and capabilities, as a property or a cached one."""
    with plugins.registered(plugin([Computing])):
        host = plugins.find_host("computing://there")
        assert host.options is host.options
        assert host.options.__name__ == "OptionsOf17"
        declared = function("current", host=host, keep_alive=5)(os.getpid)
        assert type(declared.make_launcher(rehearsed=True).host_options) is host.options


def test_registered_broken_plugin_is_refused_at_once() -> None:
    """Registering a broken plugin raises its error, and changes nothing."""
    before = plugins.load_plugins()
    broken = plugin()
    del broken.fal_core_api
    with (
        pytest.raises(PluginError, match=r"'mine'.*does not define fal_core_api"),
        plugins.registered(broken, "mine"),
    ):
        pytest.fail("the context was entered")
    assert plugins.load_plugins() is before


def test_observers_are_known_without_a_call() -> None:
    """Whether a plugin observes calls is known, so that calls without observers cost nothing."""
    with plugins.registered(plugin()) as without:
        assert without.has_observers == plugins.load_plugins().has_observers
    seen: list[object] = []
    observer = plugin(fal_host_failed=lambda call, host, error: seen.append(error))
    with plugins.registered(observer) as found:
        assert found.has_observers
        found.hooks.observe("fal_host_failed", call=None, host=None, error="failed")
    assert seen == ["failed"]


def test_host_without_address_refuses_one() -> None:
    """A URL that a host does not accept is an error, and no host is kept for it."""

    @attrs.define(eq=False, slots=False)
    class Fixed(Host[..., Any]):
        name: ClassVar[str] = "fixed"

        def launch(self, call: Any, sink: Sink) -> Execution:
            raise AssertionError(call, sink)

    with plugins.registered(plugin([Fixed])):
        with pytest.raises(OptionError, match="takes no address"):
            plugins.find_host("fixed://somewhere")
        assert "fixed://somewhere" not in plugins._shared_hosts


def test_a_name_makes_a_host_without_from_url() -> None:
    """``from_url`` is given URLs only; a bare name makes the class without arguments."""
    with plugins.registered(plugin([Placed])):
        host: Any = plugins.make_host("placed")
        assert host.address == ""
        host = plugins.make_host("placed://")
        assert host.address == "placed://"


def test_a_url_that_makes_no_host() -> None:
    """What ``from_url`` raises, and what it returns in place of a host, names the host."""

    @attrs.define(eq=False, slots=False)
    class Careless(Placed):
        @classmethod
        def from_url(cls, url: str) -> Any:
            return {}[url]

    with plugins.registered(plugin([Careless])):
        with pytest.raises(OptionError) as raised:
            plugins.make_host("placed://somewhere")
        assert str(raised.value) == (
            "Host 'placed' cannot be made of 'placed://somewhere': its from_url raised "
            "KeyError: 'placed://somewhere'."
        )
        assert isinstance(raised.value.__cause__, KeyError)


def test_a_url_that_makes_nothing() -> None:
    """A ``from_url`` that returns no host is told what to return."""

    @attrs.define(eq=False, slots=False)
    class Forgetful(Placed):
        @classmethod
        def from_url(cls, url: str) -> Any:
            return None

    with (
        plugins.registered(plugin([Forgetful])),
        pytest.raises(
            PluginError, match=r"Host 'placed': its from_url returned None for '"
        ) as e,
    ):
        plugins.make_host("placed://somewhere")
    assert str(e.value).endswith("Return the host, as in 'return cls(…)'.")


def test_a_host_that_needs_an_address_is_not_used_by_its_name() -> None:
    """The name of a host whose fields only a URL fills in is refused, with what to write."""

    @attrs.define(eq=False, slots=False)
    class Far(Placed):
        name: ClassVar[str] = "far"

        bucket: str = attrs.field(kw_only=True)
        port: int = attrs.field(kw_only=True)

    sentence = r"Host 'far' is not used by its name alone: it needs bucket and port\. Write "
    with plugins.registered(plugin([Far])):
        with pytest.raises(OptionError, match=sentence + "a URL, as in 'far://…'"):
            plugins.find_host("far")
        assert "far" not in plugins._shared_hosts
