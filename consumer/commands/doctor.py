"""`regions doctor`: is everything set up so that nothing can be lost?"""

import json
from enum import StrEnum
from typing import Annotated

import typer

from consumer.checkup import examine
from consumer.commands.terminal import AsJson, RedisUrl, out, run
from consumer.settings import Settings
from consumer.tables import table

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


class RoleName(StrEnum):
    PRODUCER = "producer"
    CONSUMER = "consumer"
    READER = "reader"
    OPERATOR = "operator"


def doctor(
    role: Annotated[RoleName, typer.Option(help="Whose rights to look for.")] = RoleName.CONSUMER,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Look at server, settings and rights; say what is wrong and what to do about it.

    Exit status 1 when something fails; a warning alone is 0.

    Examples:

        regions doctor

        regions doctor --role producer --json
    """
    settings = Settings.load(redis_url=redis_url)
    findings = run(examine(settings, role.value))
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings]))
    else:
        rows = table("check", "", "found")
        for check, level, said, advice in findings:
            rows.add_row(
                check, f"[{_STYLES[level]}]{level}[/]", f"{said}\n→ {advice}" if advice else said
            )
        out.print(rows)
    raise typer.Exit(1 if any(finding.level == "fail" for finding in findings) else 0)
