"""Real charging sites and real sessions: 3,537 sites, 507 users, 5,729 taps."""
import collections
import csv
import json

from mesh import assert_records_pair, eventually, homeward

REGIONS = "North America=na,Europe=eu,Asia Pacific=ap"
OPERATORS = "Emotì=eu,evpass=na,Green Motion=ap"


def load(mesh, name, *arguments):
    region = mesh[name]
    done = homeward("import", *arguments, "--config", region.config, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = region.sql("SELECT generation FROM homeward.route_generation")[0][0]
    eventually(lambda: region.metric("homeward_route_table_generation") >= wanted, what=f"{name}'s new routes")
    return done.stdout + done.stderr


def test_every_site_is_placed(own_mesh, data, tmp_path):
    sites = json.loads((data / "superchargers.json").read_text())
    for name in own_mesh.names:
        rejects = tmp_path / f"{name}.rejects"
        load(own_mesh, name, data / "superchargers.json", "--type", "station", "--id", "locationId,id",
             "--region", "address.region", "--region-map", REGIONS, "--reject", rejects)
        assert not rejects.exists() or rejects.stat().st_mode & 0o077 == 0, "rejected rows may be read by others"
        rejected = rejects.read_text().splitlines() if rejects.exists() else []
        routes = own_mesh[name].sql("SELECT count(*) FROM homeward.routes WHERE type = 'station' AND kind = 'exact'"
                                    " AND key IN (SELECT unnest(%s::text[]))",
                                    [str(site.get("locationId") or site["id"]) for site in sites])[0][0]
        assert routes + len(rejected) == len(sites), "a site was lost"
        assert len(rejected) < 20 and all("duplicate" in line for line in rejected)
    at_home = own_mesh["ap"].sql("SELECT record FROM homeward.objects WHERE type = 'station' AND id = 'dangjinsupercharger'")
    assert at_home[0][0]["address"]["city"] == "당진"
    located = own_mesh["eu"].request("GET", "/v1/locate/station/dangjinsupercharger").json()
    assert located["home"] == "ap" and located["would_cross_border"] is True


def test_every_tap_of_a_year_is_answered(own_mesh, data, tmp_path):
    na, eu, ap = own_mesh["na"], own_mesh["eu"], own_mesh["ap"]
    sessions = data / "ail-sessions-2017.csv"
    for name in own_mesh.names:
        load(own_mesh, name, data / "ail-stations.csv", "--type", "station", "--id", "ChargingStationId", "--region-value", "eu")
        load(own_mesh, name, sessions, "--type", "token", "--id", "UserId", "--region", "UserOperatorName", "--region-map", OPERATORS,
             "--distinct", "--fields", "UserId", "--set", "valid=true", "--set", "restricted=no", "--reject", tmp_path / "rejects")
    with open(sessions, newline="", encoding="utf-8") as lines:
        taps = list(csv.DictReader(lines))
    homes = {"Emotì": "eu", "evpass": "na", "Green Motion": "ap", "": None}
    users = {row["UserId"]: homes[row["UserOperatorName"]] for row in taps}
    roaming = collections.Counter(home for home in users.values() if home in ("na", "ap"))
    before = {region.name: len(region.exchanges()) for region in (na, ap)}

    done = homeward("replay", sessions, "--url", eu.url(""), "--token-file", eu.folder / "tokens" / "cs-auth", "--id", "UserId",
                    "--station", "ChargingStationId", "--concurrency", "32", "--speed", "max", "-o", "json", timeout=120)
    report = json.loads(done.stdout)

    assert report["taps"] == len(taps) == 5729 and report["errors"] == {}
    unknown = sum(row["UserOperatorName"] == "" for row in taps)
    assert report["answers"] == {"ALLOWED": len(taps) - unknown, "NOT_ALLOWED": unknown}
    crossings = {region.name: len(region.exchanges()) - before[region.name] for region in (na, ap)}
    assert crossings == dict(roaming), "each roaming driver crosses once, while the cached record lasts"
    assert report["sources"]["home"] == sum(roaming.values())
    assert report["sources"]["cache"] == sum(homes[row["UserOperatorName"]] in ("na", "ap") for row in taps) - sum(roaming.values())
    assert assert_records_pair(eu, na) == roaming["na"]
    assert assert_records_pair(eu, ap) == roaming["ap"]
    for region in (na, eu, ap):
        region.await_index()
    for one, other in ((eu, na), (na, eu), (eu, ap), (ap, eu)):
        said = homeward("audit", "reconcile", "--config", one.config, "--with", other.name, "--to", "2200-01-01").stdout
        abroad = roaming[other.name if one is eu else one.name]
        assert said.splitlines()[-1] == f"{abroad} crossings with {other.name}: {abroad} paired; 0 faults."
    assert eu.metric("homeward_lookups_total", result="unrouted") + eu.metric("homeward_lookups_total", result="negative") == unknown
