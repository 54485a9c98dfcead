"""Realistic snapshots of the eight regions, for the demo, the tests and the benchmarks.

About 8 KB each (4–14 KB), with non-ASCII text, in the shape of consumer/snapshot.py. The same
seed gives the same snapshots.
"""

import json
import random
import time
from typing import Any

from consumer.events import REGIONS

_PLACES = {
    "mena": ("Strait of Hormuz", "Sana'a صنعاء", "Suez"),
    "east-asia": ("Taiwan Strait 臺灣海峽", "Busan", "Miyako"),
    "europe": ("Øresund", "Kyiv Київ", "Gdańsk"),
    "north-america": ("Houston", "Panama approaches", "Montréal"),
    "south-asia": ("Palk Strait", "Karachi", "Chittagong চট্টগ্রাম"),
    "latam": ("São Paulo", "Río de la Plata", "Callao"),
    "sub-saharan-africa": ("Bab el-Mandeb", "Lagos", "Côte d'Ivoire"),
    "global": ("all chokepoints", "high seas", "polar routes"),
}
_AXES = (
    "coercive_pressure", "domestic_fragility", "capital_stress", "energy_vulnerability",
    "alliance_cohesion", "maritime_access", "energy_leverage",
)  # fmt: skip
_LABELS = ("calm", "stressed_equilibrium", "coercive_stalemate", "managed_deescalation")
_EVIDENCE = ("vessel_track", "flight_surge", "news_headline", "cii_spike", "market_signal")
_LANES = ("base", "escalation", "containment", "fragmentation")


def snapshot_id(generated_at: int, rng: random.Random) -> str:
    return f"{generated_at:012x}-{rng.getrandbits(48):012x}"


def snapshot(
    region: str,
    generated_at: int | None = None,
    *,
    seed: int | None = None,
    trigger_reason: str = "scheduled_6h",
    evidence: int | None = None,
) -> dict[str, Any]:
    """One snapshot as a dict, free to be changed. generated_at: ms since the epoch, default now."""
    rng = random.Random(seed)  # noqa: S311 (no secret)
    now = generated_at if generated_at is not None else time.time_ns() // 1_000_000
    count = evidence if evidence is not None else rng.randint(6, 22)
    facts = [_evidence(region, i, now, rng) for i in range(count)]
    ids = [fact["id"] for fact in facts]
    return {
        "region_id": region,
        "generated_at": now,
        "meta": {
            "snapshot_id": snapshot_id(now, rng),
            "model_version": "0.1.0",
            "scoring_version": "1.1.0",
            "geography_version": "1.0.0",
            "snapshot_confidence": round(rng.random(), 3),
            "missing_inputs": [f"economic:series-{n}:v1" for n in range(rng.randint(0, 8))],
            "stale_inputs": [],
            "valid_until": now + 900_000,
            "trigger_reason": trigger_reason,
            "narrative_provider": "",
            "narrative_model": "",
        },
        "regime": {
            "label": rng.choice(_LABELS),
            "previous_label": rng.choice(("", *_LABELS)),
            "transitioned_at": rng.choice((0, now)),
            "transition_driver": "",
        },
        "balance": _balance(region, ids, rng),
        "actors": [_actor(n, ids, rng) for n in range(rng.randint(2, 6))],
        "leverage_edges": [],
        "scenario_sets": [_scenarios(horizon, rng) for horizon in ("24h", "7d", "30d")],
        "transmission_paths": [_path(region, rng)] if rng.random() < 0.4 else [],
        "triggers": {"active": [], "watching": [], "dormant": [_trigger(n) for n in range(2)]},
        "mobility": {
            "airspace": [],
            "flight_corridors": [],
            "airports": [],
            "reroute_intensity": 0,
            "notam_closures": [],
        },
        "evidence": facts,
        "narrative": {
            **{
                part: {"text": "", "evidence_ids": []}
                for part in (
                    "situation", "balance_assessment", "outlook_24h", "outlook_7d", "outlook_30d",
                )
            },
            "watch_items": [],
        },
    }  # fmt: skip


def cycle(
    generated_at: int | None = None, *, seed: int | None = None, **parts: Any
) -> list[dict[str, Any]]:
    """One snapshot of each of the eight regions, computed within a few milliseconds."""
    now = generated_at if generated_at is not None else time.time_ns() // 1_000_000
    return [
        snapshot(region, now + n, seed=None if seed is None else seed * 8 + n, **parts)
        for n, region in enumerate(REGIONS)
    ]


def to_json(document: dict[str, Any]) -> bytes:
    """As producers write it: compact, UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _balance(region: str, ids: list[str], rng: random.Random) -> dict[str, Any]:
    def driver(axis: str, orientation: str) -> dict[str, Any]:
        return {
            "axis": axis,
            "description": f"{axis.replace('_', ' ')} at {rng.choice(_PLACES[region])}",
            "magnitude": round(rng.random(), 2),
            "evidence_ids": rng.sample(ids, min(3, len(ids))),
            "orientation": orientation,
        }

    return {
        **{axis: round(rng.random(), 3) for axis in _AXES},
        "net_balance": round(rng.uniform(-1, 1), 3),
        "pressures": [driver(axis, "pressure") for axis in rng.sample(_AXES, 3)],
        "buffers": [driver(axis, "buffer") for axis in rng.sample(_AXES, 2)],
    }


def _actor(number: int, ids: list[str], rng: random.Random) -> dict[str, Any]:
    return {
        "actor_id": f"actor-{number}",
        "name": f"Actor № {number}",
        "role": rng.choice(("aggressor", "stabilizer", "swing", "broker")),
        "leverage_domains": rng.sample(("energy", "military", "maritime"), 2),
        "leverage_score": round(rng.random(), 2),
        "delta": 0,
        "evidence_ids": rng.sample(ids, min(2, len(ids))),
    }


def _scenarios(horizon: str, rng: random.Random) -> dict[str, Any]:
    weights = [rng.random() + 0.1 for _ in _LANES]
    shares = [round(weight / sum(weights), 3) for weight in weights]
    shares[0] = round(1 - sum(shares[1:]), 3)
    return {
        "horizon": horizon,
        "lanes": [
            {
                "name": lane,
                "probability": share,
                "trigger_ids": [],
                "consequences": [],
                "transmissions": [],
            }
            for lane, share in zip(_LANES, shares, strict=True)
        ],
    }


def _path(region: str, rng: random.Random) -> dict[str, Any]:
    return {
        "start": f"{rng.choice(_PLACES[region])} threat elevated",
        "mechanism": "freight risk re-priced",
        "end": "shipping equities −3% to −8%",
        "severity": rng.choice(("high", "medium")),
        "corridor_id": "corridor-1",
        "confidence": 0.75,
        "latency_hours": 12,
        "impacted_asset_class": "equity",
        "impacted_regions": [region],
        "magnitude_low": -8,
        "magnitude_high": -3,
        "magnitude_unit": "pct",
        "template_id": "chokepoint_tension",
        "template_version": "1.0.0",
    }


def _trigger(number: int) -> dict[str, Any]:
    return {
        "id": f"trigger-{number}",
        "description": "transit count drops sharply against the trailing week",
        "threshold": {
            "metric": "chokepoint:transit_count",
            "operator": "delta_lt",
            "value": -0.2,
            "window_minutes": 1440,
            "baseline": "trailing_7d",
        },
        "activated": False,
        "activated_at": 0,
        "scenario_lane": "escalation",
        "evidence_ids": [],
    }


def _evidence(region: str, number: int, now: int, rng: random.Random) -> dict[str, Any]:
    place = rng.choice(_PLACES[region])
    return {
        "id": f"{region}:e{number}",
        "type": rng.choice(_EVIDENCE),
        "source": "cross-source-signals",
        "summary": f"{place}: reading {rng.randint(1, 99)} above trailing week, confirmed twice",
        "confidence": round(rng.random(), 2),
        "observed_at": now - rng.randint(0, 3_600_000),
        "theater": "",
        "corridor": place,
    }


if __name__ == "__main__":  # a cycle as NDJSON: python -m producers.samples | regions publish -
    for document in cycle():
        print(to_json(document).decode())
