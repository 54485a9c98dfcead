"""`regions explain`: what happened to this one?"""

import json
from typing import Annotated

import typer

from consumer.commands.terminal import (
    AsJson,
    RedisUrl,
    clock,
    err,
    fail,
    linked,
    out,
    run,
    searching,
)
from consumer.settings import Settings
from consumer.story import Story
from consumer.story import explain as explained
from consumer.tables import span, table


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="ID|REGION", help="A snapshot id, an entry id, a dead letter's id, or a region."
        ),
    ],
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """One event's story, in order; of a region its last one. Exit status 1 when nobody knows it.

    It reaches as far back as the stream's retention (REGIONS_RETAIN_S); what is persisted is found
    longer.

    Examples:

        regions explain mena

        regions explain 01a203d0051a-6ccc4e0f43cd

        regions explain 1795383064679-0 --json
    """
    settings = Settings.load(redis_url=redis_url)
    with searching(what):
        story = run(_ask(settings, what))
    if story is None:
        fail(
            f"nothing is known of {what}; ids of snapshots, entries, dead letters, and regions are"
        )
    if as_json:
        said = story._asdict() | {
            "steps": [step._asdict() for step in story.steps],
            "keys": [{"name": name, "ttl_s": ttl} for name, ttl in story.keys],
            "jaeger": [link for trace in story.trace_ids if (link := _link(settings, trace))],
        }
        typer.echo(json.dumps(said))
        return
    _tell(settings, story)


async def _ask(settings: Settings, what: str) -> Story | None:
    async with linked(settings) as link:
        return await explained(link, settings, what)


def _tell(settings: Settings, story: Story) -> None:
    out.print(f"[bold]{story.region or 'unknown region'}[/] {story.snapshot_id}", highlight=False)
    steps = table("when", "what", "")
    for step in story.steps:
        steps.add_row(clock(step.at_ms) if step.at_ms else "now", step.what, step.said)
    out.print(steps)
    if story.keys:
        held = table("held by", "for")
        for name, ttl in story.keys:
            held.add_row(name, "ever" if ttl < 0 else span(ttl))
        out.print()
        out.print(held, soft_wrap=True)
    for trace in story.trace_ids:
        out.print(f"trace {trace}", highlight=False)
        if link := _link(settings, trace):
            out.print(f"      {link}", highlight=False, soft_wrap=True)
    if story.trace_ids and not settings.jaeger_url:
        err.print("REGIONS_JAEGER_URL makes links of the traces", style="dim")


def _link(settings: Settings, trace_id: str) -> str:
    return f"{settings.jaeger_url.rstrip('/')}/trace/{trace_id}" if settings.jaeger_url else ""
