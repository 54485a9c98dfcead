"""`regions docs`: the contract for those who read schemas, and these commands as a page."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from consumer.settings import Settings


class Which(StrEnum):
    ASYNCAPI = "asyncapi"
    SCHEMA = "schema"
    CLI = "cli"


def docs(
    context: typer.Context,
    which: Annotated[
        Which,
        typer.Argument(help="AsyncAPI, JSON Schema of a snapshot, or all commands."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: standard output.")
    ] = None,
) -> None:
    """Write the AsyncAPI document, the JSON Schema of a snapshot, or the page of all commands.

    Examples:

        regions docs asyncapi -o asyncapi.json

        regions docs schema
    """
    text = _commands(context) if which is Which.CLI else _schema(which)
    if output:
        output.write_text(text)
    else:
        typer.echo(text, nl=False)


def _schema(which: Which) -> str:
    from consumer.contract import asyncapi, snapshot_schema

    made = asyncapi(Settings.load()) if which is Which.ASYNCAPI else snapshot_schema()
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _commands(context: typer.Context) -> str:
    from typer.cli import get_docs_for_click

    root = cast("typer.Context", context.find_root())
    page = get_docs_for_click(obj=root.command, ctx=root, name="regions", title="regions")
    return page.strip() + "\n"
