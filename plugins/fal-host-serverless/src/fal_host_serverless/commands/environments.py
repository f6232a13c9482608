"""
``fal-core environments``: applications and secrets apart from others.
"""

from __future__ import annotations

import click

from fal_host_serverless.commands.options import (
    client_options,
    json_option,
    make_client,
    show,
)


@click.group()
def environments() -> None:
    """
    Look at the environments of the service, create and remove them.
    """


@environments.command("list")
@client_options
@json_option
def list_(host: str | None, profile: str | None, as_json: bool) -> None:
    """
    List the environments.
    """
    show(
        make_client(host, profile).environments.list(),
        ("NAME", "CREATED", "DESCRIPTION"),
        lambda each: (each.name, each.created_at, each.description),
        as_json=as_json,
        none="There is no environment.",
    )


@environments.command()
@click.argument("name")
@click.option("--description", metavar="TEXT", help="What it is for.")
@client_options
def create(name: str, description: str | None, host: str | None, profile: str | None) -> None:
    """
    Create an environment.
    """
    make_client(host, profile).environments.create(name, description)
    click.echo(f"Environment {name} is there.")


@environments.command()
@click.argument("name")
@client_options
def delete(name: str, host: str | None, profile: str | None) -> None:
    """
    Remove an environment, and what is in it.
    """
    make_client(host, profile).environments.delete(name)
    click.echo(f"Environment {name} is removed.")
