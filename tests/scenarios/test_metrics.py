"""/metrics by the rules that Prometheus' own linter has, and with labels that cannot grow without bound."""
import re

import pytest

from mesh import UNKNOWN_CARD, a_station, good_tokens

UNITS = ("_seconds", "_bytes", "_info", "_total", "_ratio", "_entries")
COUNTS = {  # gauges that count things, whose name is the thing
    "homeward_access_index_position", "homeward_access_log_failed", "homeward_callers", "homeward_config_last_reload_successful",
    "homeward_database_up", "homeward_http_connections", "homeward_lookups_in_flight", "homeward_lookups_in_flight_peak", "homeward_peer_up",
    "homeward_policy_generation", "homeward_process_threads", "homeward_route_table_generation", "homeward_route_table_routes",
    "homeward_routes", "homeward_engine_lag_ms", "process_open_fds", "process_max_fds",
}
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
SERIES_MAX = 3000


def read(text):
    helps, kinds, samples = {}, {}, []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, words = line[7:].split(" ", 1)
            assert name not in helps, f"{name} has two HELP lines"
            helps[name] = words
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name not in kinds and kind in ("counter", "gauge", "histogram"), line
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, f"not a sample: {line!r}"
            samples.append((match[1], dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")), float(match[3])))
    return helps, kinds, samples


def family(name, kinds):
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if kinds.get(base) == "histogram" else name


@pytest.fixture(scope="module")
def busy(mesh):
    """Answers of every kind, and the ids and names that must not be found in the metrics."""
    na, eu = mesh["na"], mesh["eu"]
    card = good_tokens(na)[0]
    for _ in range(2):
        eu.authorize(card, a_station(eu))
    eu.get("token", card, purpose="analytics", caller="insights")
    eu.get("token", UNKNOWN_CARD)
    eu.request("GET", "/v1/nothing/of/the/kind/8731")
    for number in range(40):
        eu.request("GET", f"/v1/objects/token/{UNKNOWN_CARD}?purpose=made-up-{number}")
        eu.request("GET", f"/v1/objects/type{number}/x?purpose=charge.authorize")
        eu.request(f"METHOD{number}", "/v1/authorize")
    return mesh, card


def test_names_help_and_types_are_as_they_should_be(busy):
    for region in busy[0].regions.values():
        helps, kinds, samples = read(region.metrics())
        for name, labels, value in samples:
            base = family(name, kinds)
            assert base in kinds, f"{base} has no TYPE"
            assert helps.get(base, "").strip().endswith("."), f"{base} has no sentence for HELP"
            assert (kinds[base] == "counter") == base.endswith("_total"), f"{base} is a {kinds[base]}"
            assert base.endswith(UNITS) or base in COUNTS, f"{base} names no unit"
            assert not re.search(r"_(ms|us|milliseconds|kilobytes|percent)(_|$)", base), f"{base}: not a base unit"
            assert value == value, f"{name} is not a number"
            assert not {"job", "instance", "quantile"} & set(labels)
            assert ("le" in labels) == name.endswith("_bucket")


def test_histograms_add_up(busy):
    _, kinds, samples = read(busy[0]["eu"].metrics())
    checked = 0
    for name in (name for name, kind in kinds.items() if kind == "histogram"):
        series = {}
        for sample, labels, value in samples:
            if family(sample, kinds) == name:
                key = tuple(sorted((label, text) for label, text in labels.items() if label != "le"))
                series.setdefault(key, {}).setdefault(sample.removeprefix(name), []).append((labels.get("le"), value))
        for parts in series.values():
            bounds = [(float(bound), value) for bound, value in parts["_bucket"]]
            assert bounds == sorted(bounds) and bounds[-1][0] == float("inf")
            assert [value for _, value in bounds] == sorted(value for _, value in bounds), f"{name} goes down"
            assert bounds[-1][1] == parts["_count"][0][1], f"{name}: +Inf is not the count"
            checked += 1
    assert checked > 3


def test_labels_are_bounded_and_hold_no_ids(busy):
    mesh, card = busy
    eu = mesh["eu"]
    text = eu.metrics()
    assert card not in text and UNKNOWN_CARD not in text
    assert "made-up" not in text and "8731" not in text and "METHOD3" not in text and "type17" not in text
    _, _, samples = read(text)
    assert len(samples) < SERIES_MAX
    assert len({(name, tuple(sorted(labels.items()))) for name, labels, _ in samples}) == len(samples), "a series twice"


def test_counters_never_go_down(busy):
    eu = busy[0]["eu"]
    _, kinds, before = read(eu.metrics())
    eu.authorize(busy[1], a_station(eu))
    _, _, after = read(eu.metrics())
    later = {(name, tuple(sorted(labels.items()))): value for name, labels, value in after}
    for name, labels, value in before:
        if kinds[family(name, kinds)] != "gauge" and not name.endswith("_sum"):
            assert later[name, tuple(sorted(labels.items()))] >= value, name
