"""The regional snapshot, field by field: the shape that producers emit and we validate.

Source of the rules: the producers' own schema. All fields are required; unknown further fields
are ignored, and stored, because the JSON is kept byte for byte. Times are integer milliseconds
since the epoch, shares lie in 0..1, and empty strings and lists are normal.

The types are `TypedDict`s, not `BaseModel`s: pydantic validates both, and these cost a third
less (docs/decisions/0004-validation.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import FailFast, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

_any_word: ContextVar[bool] = ContextVar("any_word", default=False)


@dataclass(frozen=True, slots=True)
class Words:
    """A vocabulary of today's words. A producer may learn a new one before we do.

    The strict schema knows the words as literals; the lenient one, built from the same
    definitions, takes any string. Only a snapshot that says a new word pays for both.
    """

    words: tuple[str, ...]

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        if _any_word.get():
            return core_schema.str_schema()
        return core_schema.literal_schema(list(self.words))

    def __get_pydantic_json_schema__(self, _: Any, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "examples": list(self.words)}


def _words(spoken: str) -> Words:
    return Words(tuple(spoken.split()))


LABELS = (
    "calm stressed_equilibrium coercive_stalemate fragmentation_risk "
    "managed_deescalation escalation_ladder"
)
AXES = (
    "coercive_pressure domestic_fragility capital_stress energy_vulnerability "
    "alliance_cohesion maritime_access energy_leverage"
)
LANES = "base escalation containment fragmentation"

Label = Annotated[str, _words(LABELS)]
PreviousLabel = Annotated[str, Words(("", *LABELS.split()))]
Lane = Annotated[str, _words(LANES)]
Horizon = Annotated[str, _words("24h 7d 30d")]
Severity = Annotated[str, _words("critical high medium low")]
Role = Annotated[str, _words("aggressor stabilizer swing broker")]
Domain = Annotated[str, _words("energy military diplomatic economic maritime")]
Lever = Annotated[
    str, _words("sanctions naval_posture energy_supply alliance_shift trade_friction")
]
EvidenceType = Annotated[
    str,
    _words(
        "vessel_track flight_surge news_headline cii_spike chokepoint_status "
        "sanctions_move market_signal mobility_disruption"
    ),
]
Operator = Annotated[str, _words("gt gte lt lte delta_gt delta_lt")]
Baseline = Annotated[str, _words("trailing_7d trailing_30d fixed")]
AirspaceStatus = Annotated[str, _words("open restricted closed")]
AirportStatus = Annotated[str, _words("normal disrupted closed")]
Axis = Annotated[str, _words(AXES)]
Orientation = Annotated[str, _words("pressure buffer")]

T = TypeVar("T")
# A list stops at its first fault: a hostile document cannot make a million errors of itself.
Many = Annotated[list[T], FailFast()]

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Time = Annotated[int, Field(gt=0)]
TimeOrZero = Annotated[int, Field(ge=0)]

# These two become part of key names: enforced, not merely known.
RegionId = Annotated[str, Field(max_length=32, pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
SnapshotId = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
# So does this one: its pattern is enforced, its words are a vocabulary all the same.
TriggerReason = Annotated[str, Field(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]


TRIGGER_REASONS = frozenset(
    ["scheduled_6h", "regime_shift", "trigger_activation", "corridor_break", "leverage_shift"]
)


class Meta(TypedDict):
    snapshot_id: SnapshotId
    model_version: str
    scoring_version: str
    geography_version: str
    snapshot_confidence: Share
    missing_inputs: Many[str]
    stale_inputs: Many[str]
    valid_until: Time
    trigger_reason: TriggerReason
    narrative_provider: str
    narrative_model: str


class Regime(TypedDict):
    label: Label
    previous_label: PreviousLabel
    transitioned_at: TimeOrZero
    transition_driver: str


class Driver(TypedDict):
    axis: Axis
    description: str
    magnitude: Number
    evidence_ids: Many[str]
    orientation: Orientation


class Balance(TypedDict):
    coercive_pressure: Share
    domestic_fragility: Share
    capital_stress: Share
    energy_vulnerability: Share
    alliance_cohesion: Share
    maritime_access: Share
    energy_leverage: Share
    net_balance: Annotated[float, Field(ge=-1, le=1)]
    pressures: Many[Driver]
    buffers: Many[Driver]


class Actor(TypedDict):
    actor_id: str
    name: str
    role: Role
    leverage_domains: Many[Domain]
    leverage_score: Number
    delta: Number
    evidence_ids: Many[str]


class LeverageEdge(TypedDict):
    from_actor_id: str
    to_actor_id: str
    mechanism: Lever
    strength: Number
    evidence_ids: Many[str]


class TransmissionPath(TypedDict):
    start: str
    mechanism: str
    end: str
    severity: Severity
    corridor_id: str
    confidence: Number
    latency_hours: Number
    impacted_asset_class: str
    impacted_regions: Many[str]
    magnitude_low: Number
    magnitude_high: Number
    magnitude_unit: str
    template_id: str
    template_version: str


class ScenarioLane(TypedDict):
    name: Lane
    probability: Share
    trigger_ids: Many[str]
    consequences: Many[str]
    transmissions: Many[TransmissionPath]


class ScenarioSet(TypedDict):
    horizon: Horizon
    lanes: Many[ScenarioLane]


class Threshold(TypedDict):
    metric: str
    operator: Operator
    value: Number
    window_minutes: Number
    baseline: Baseline


class Trigger(TypedDict):
    id: str
    description: str
    threshold: Threshold
    activated: bool
    activated_at: TimeOrZero
    scenario_lane: Lane
    evidence_ids: Many[str]


class Triggers(TypedDict):
    active: Many[Trigger]
    watching: Many[Trigger]
    dormant: Many[Trigger]


class Airspace(TypedDict):
    airspace_id: str
    status: AirspaceStatus
    reason: str


class FlightCorridor(TypedDict):
    corridor: str
    stress_level: Number
    rerouted_flights_24h: Number


class Airport(TypedDict):
    icao: str
    name: str
    status: AirportStatus
    disruption_reason: str


class Mobility(TypedDict):
    airspace: Many[Airspace]
    flight_corridors: Many[FlightCorridor]
    airports: Many[Airport]
    reroute_intensity: Number
    notam_closures: Many[str]


class Evidence(TypedDict):
    id: str
    type: EvidenceType
    source: str
    summary: str
    confidence: Number
    observed_at: Time
    theater: str
    corridor: str


class Section(TypedDict):
    text: str
    evidence_ids: Many[str]


class Narrative(TypedDict):
    situation: Section
    balance_assessment: Section
    outlook_24h: Section
    outlook_7d: Section
    outlook_30d: Section
    watch_items: Many[Section]


class Snapshot(TypedDict):
    region_id: RegionId
    generated_at: Time
    meta: Meta
    regime: Regime
    balance: Balance
    actors: Many[Actor]
    leverage_edges: Many[LeverageEdge]
    scenario_sets: Many[ScenarioSet]
    transmission_paths: Many[TransmissionPath]
    triggers: Triggers
    mobility: Mobility
    evidence: Many[Evidence]
    narrative: Narrative


@contextmanager
def _taking_any_word() -> Iterator[None]:
    token = _any_word.set(True)
    try:
        yield
    finally:
        _any_word.reset(token)


strict: TypeAdapter[Snapshot] = TypeAdapter(Snapshot)
with _taking_any_word():
    lenient: TypeAdapter[Snapshot] = TypeAdapter(Snapshot)
