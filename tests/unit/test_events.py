"""What counts as a valid snapshot: every rule, and that no message repeats the input."""

import json
from typing import Any

import pytest

from consumer.events import DAY_MS, REGIONS, Facts, Fault, Rules, check
from producers import samples

NOW_MS = 1_795_000_000_000
SECRET = "hunter2-never-repeat-me"


def verdict(document: Any, rules: Rules = Rules()) -> Facts | Fault:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return check(raw, rules, NOW_MS)


def changed(path: str, value: Any) -> dict[str, Any]:
    document = samples.snapshot("mena", NOW_MS, seed=1, evidence=5)
    here: Any = document
    *parents, last = path.split(".")
    for part in parents:
        here = here[int(part)] if part.isdecimal() else here[part]
    if value is KeyError:
        del here[last]
    else:
        here[int(last) if last.isdecimal() else last] = value
    return document


@pytest.mark.parametrize("region", REGIONS)
def test_samples_are_valid(region: str) -> None:
    document = samples.snapshot(region, NOW_MS, seed=3)
    facts = verdict(document)
    assert facts == Facts(region, document["meta"]["snapshot_id"], NOW_MS, "scheduled_6h")


def test_unknown_fields_and_old_ids_are_taken() -> None:
    document = changed("meta.snapshot_id", "mena-20260421-steady")
    document["of_a_newer_producer"] = {"deep": [1, 2, 3]}
    assert isinstance(verdict(document), Facts)


@pytest.mark.parametrize(
    ("raw", "error_type"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "not_utf8"),
        (b'{"region_id": "\xff"}', "not_utf8"),
        (b"nonsense", "not_json"),
        (b'{"region_id": "mena"', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b'{"a": "\\ud800"}', "not_json"),
        (b"[]", "not_object"),
        (b"17", "not_object"),
        (b'"text"', "not_object"),
        (b"null", "not_object"),
    ],
)
def test_undecodable(raw: bytes, error_type: str) -> None:
    fault = verdict(raw)
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.stage, fault.error_type) == ("undecodable", "decode", error_type)


@pytest.mark.parametrize(
    ("path", "value", "error_type"),
    [
        ("region_id", KeyError, "missing"),
        ("meta", KeyError, "missing"),
        ("narrative.outlook_7d.text", KeyError, "missing"),
        ("evidence.3.observed_at", KeyError, "missing"),
        ("region_id", 7, "string_type"),
        ("region_id", "", "string_pattern_mismatch"),
        ("region_id", "Mena", "string_pattern_mismatch"),
        ("region_id", "mena:latest", "string_pattern_mismatch"),
        ("region_id", "mena\n", "string_pattern_mismatch"),
        ("region_id", "a--b", "string_pattern_mismatch"),
        ("region_id", "a" * 33, "string_too_long"),
        ("region_id", "atlantis", "unknown_region"),
        ("meta.snapshot_id", "a b", "string_pattern_mismatch"),
        ("meta.snapshot_id", "x" * 65, "string_too_long"),
        ("meta.trigger_reason", "a:b", "string_pattern_mismatch"),
        ("meta.snapshot_confidence", 1.01, "less_than_equal"),
        ("meta.missing_inputs", "text", "list_type"),
        ("generated_at", 0, "greater_than"),
        ("generated_at", -1, "greater_than"),
        ("generated_at", 1.5, "int_type"),
        ("generated_at", True, "int_type"),
        ("generated_at", str(NOW_MS), "int_type"),
        ("generated_at", 10**30, "time_ahead"),
        ("generated_at", NOW_MS + DAY_MS + 1, "time_ahead"),
        ("meta.valid_until", NOW_MS + 2 * DAY_MS, "time_ahead"),
        ("regime.transitioned_at", NOW_MS + 2 * DAY_MS, "time_ahead"),
        ("evidence.2.observed_at", NOW_MS + 2 * DAY_MS, "time_ahead"),
        ("triggers.dormant.1.activated_at", NOW_MS + 2 * DAY_MS, "time_ahead"),
        ("regime.label", 5, "string_type"),
        ("balance.net_balance", -1.2, "greater_than_equal"),
        ("balance.capital_stress", True, "float_type"),
        ("balance.pressures.0.magnitude", "0.5", "float_type"),
        ("actors.0.leverage_score", None, "float_type"),
        ("scenario_sets.1.lanes.0.probability", 0.0001, "probabilities"),
        ("triggers.dormant.0.activated", 1, "bool_type"),
        ("mobility.notam_closures", [1], "string_type"),
    ],
)  # fmt: skip
def test_invalid_names_the_field(path: str, value: Any, error_type: str) -> None:
    fault = verdict(changed(path, value))
    assert isinstance(fault, Fault), fault
    assert (fault.reason, fault.stage, fault.error_type) == ("invalid", "validate", error_type)
    assert any(path.startswith(at) or at.startswith(path) for at in fault.paths), fault.paths


def test_a_day_ahead_is_still_taken() -> None:
    assert isinstance(verdict(changed("generated_at", NOW_MS + DAY_MS)), Facts)


def test_infinities_are_not_json() -> None:
    for constant in (b"NaN", b"Infinity", b"-Infinity"):
        raw = (
            json.dumps(changed("extra", 0)).encode().replace(b'"extra": 0', b'"extra": ' + constant)
        )
        fault = verdict(raw)
        assert isinstance(fault, Fault)
        assert fault.error_type == "not_json"
    assert isinstance(verdict(changed("regime.transition_driver", "NaN and Infinity")), Facts)


def test_too_large() -> None:
    document = changed("narrative.situation.text", "x" * 2000)
    assert isinstance(verdict(document), Facts)
    fault = verdict(document, Rules(max_bytes=2000))
    assert isinstance(fault, Fault)
    assert fault.error_type == "too_large"


def test_any_region_that_fits_when_all_are_allowed() -> None:
    assert isinstance(verdict(changed("region_id", "atlantis"), Rules(allowed=None)), Facts)


def test_new_words_are_taken_and_named() -> None:
    document = changed("regime.label", "brand_new")
    document["evidence"][1]["type"] = "drone_swarm"
    document["meta"]["trigger_reason"] = "hunch"
    facts = verdict(document)
    assert isinstance(facts, Facts)
    assert set(facts.surprises) == {
        ("regime.label", "brand_new"),
        ("evidence.1.type", "drone_swarm"),
        ("meta.trigger_reason", "hunch"),
    }


def test_a_new_word_does_not_hide_a_fault_behind_it() -> None:
    document = changed("evidence.1.type", "drone_swarm")
    document["evidence"][3]["confidence"] = "high"
    fault = verdict(document)
    assert isinstance(fault, Fault)
    assert fault.paths == ("evidence.3.confidence",)


def test_an_invalid_one_is_still_named_where_it_can_be() -> None:
    document = changed("balance.net_balance", 9)
    fault = verdict(document)
    assert isinstance(fault, Fault)
    assert (fault.region, fault.snapshot_id) == ("mena", document["meta"]["snapshot_id"])
    document["region_id"] = "<script>"
    fault = verdict(document)
    assert isinstance(fault, Fault)
    assert fault.region == ""


@pytest.mark.parametrize(
    "path",
    ["region_id", "meta.snapshot_id", "meta.trigger_reason", "generated_at", "balance",
     "evidence.0.observed_at", "evidence.0.confidence", "triggers.dormant.0.activated", "actors"],
)  # fmt: skip
def test_no_message_repeats_the_input(path: str) -> None:
    fault = verdict(changed(path, SECRET + "!"))
    assert isinstance(fault, Fault)
    assert SECRET not in repr(fault)


def test_a_million_faults_cost_no_more_than_a_few() -> None:
    document = changed("actors", [1] * 300_000)
    document["evidence"] = ["x"] * 40_000
    fault = verdict(document)
    assert isinstance(fault, Fault)
    assert len(fault.paths) < 20
