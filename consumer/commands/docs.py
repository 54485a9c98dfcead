"""`regions docs`: the contract, for those who read schemas."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from consumer.settings import Settings


class Which(StrEnum):
    ASYNCAPI = "asyncapi"
    SCHEMA = "schema"


def docs(
    which: Annotated[
        Which, typer.Argument(help="The stream's AsyncAPI, or the snapshot's JSON Schema.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: standard output.")
    ] = None,
) -> None:
    """Write the AsyncAPI document, or the JSON Schema of a snapshot.

    Examples:

        regions docs asyncapi -o asyncapi.json

        regions docs schema
    """
    from consumer.contract import asyncapi, snapshot_schema

    made = asyncapi(Settings.load()) if which is Which.ASYNCAPI else snapshot_schema()
    text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    if output:
        output.write_text(text)
    else:
        typer.echo(text, nl=False)
