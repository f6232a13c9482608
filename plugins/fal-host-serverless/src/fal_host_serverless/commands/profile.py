"""``fal-core profile``: named settings, shared with fal's own tools."""

from __future__ import annotations

from copy import copy

import click

from fal_core.cli import print_json, print_table
from fal_core.errors import FalServerlessError
from fal_host_serverless.account import profiles
from fal_host_serverless.commands.client_options import ask_secret, json_option
from fal_host_serverless.commands.output import report
from fal_host_serverless.credentials import KeyCredentials


@click.group()
def profile() -> None:
    """Manage profiles, which keep a key and an address by name."""


@profile.command("list")
@json_option
def list_(as_json: bool) -> None:
    """
    List the profiles, without their keys.

    \b
    Example:
      fal-core profile list
    """
    known = profiles.read()
    found = [
        {
            "name": name,
            "current": name == known.current,
            "address": known.value("host", name),
            "has_key": known.value("key", name) is not None,
        }
        for name in known.names
    ]
    if as_json:
        print_json(found)
    elif not found:
        click.echo("There is no profile. Make one with 'fal-core profile set NAME'.")
    else:
        rows = [
            [
                f"{each['name']}{' *' if each['current'] else ''}",
                str(each["address"] or "-"),
                "yes" if each["has_key"] else "no",
            ]
            for each in found
        ]
        print_table(("NAME", "ADDRESS", "KEY"), rows)


@profile.command("set")
@click.argument("name")
@json_option
def set_(name: str, as_json: bool) -> None:
    """
    Use a profile from now on; it is created if need be.

    \b
    Example:
      fal-core profile set work
    """
    known = profiles.read()
    known.tables.setdefault(name, {})
    known.choose(name)
    known.write()
    report(f"Profile {name} is in use.", as_json=as_json, current=name)


@profile.command()
@json_option
def unset(as_json: bool) -> None:
    """
    Use no profile.

    \b
    Example:
      fal-core profile unset
    """
    known = profiles.read()
    known.choose(None)
    known.write()
    report("No profile is in use.", as_json=as_json, current=None)


@profile.command("address")
@click.argument("address")
@json_option
def address_(address: str, as_json: bool) -> None:
    """
    Store the address of the service in the profile in use.

    \b
    Example:
      fal-core profile address 127.0.0.1:6001
    """
    _store("host", address)
    report(f"The address is {address}.", as_json=as_json, address=address)


# The name that fal's own command line has for it.
_host = copy(address_)
_host.hidden = True
profile.add_command(_host, "host")


@profile.command()
@json_option
def key(as_json: bool) -> None:
    """
    Store a key in the profile in use. It is asked for, so that the shell's history does
    not have it.

    Without a terminal, it is read from a line of standard input.

    \b
    Example:
      fal-core profile key
    """
    written = ask_secret("Key, as ID:SECRET")
    KeyCredentials.of(written, "the prompt")
    _store("key", written)
    report("The key is kept.", as_json=as_json, has_key=True)


@profile.command()
@click.argument("name")
@json_option
def delete(name: str, as_json: bool) -> None:
    """
    Delete a profile and its key.

    \b
    Example:
      fal-core profile delete work
    """
    known = profiles.read()
    known.check(name)
    if known.current == name:
        known.choose(None)
    del known.tables[name]
    known.write()
    report(f"Profile {name} is deleted.", as_json=as_json, deleted=name)


def _store(setting: str, value: str) -> None:
    known = profiles.read()
    if known.current is None:
        raise FalServerlessError("No profile is in use. Make one: 'fal-core profile set NAME'.")
    known.tables[known.current][setting] = value
    known.write()
