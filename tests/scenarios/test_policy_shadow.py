"""A second policy on live traffic: it is told where it differs, and nothing else changes."""
import json

from mesh import a_station, add_tokens, homeward

AGAIN = {"Cache-Control": "no-cache"}


def test_a_shadow_counts_its_differences_and_enforces_nothing(mesh):
    na, eu = mesh["na"], mesh["eu"]
    good, restricted = add_tokens(mesh, "na", 2, prefix="46")
    na.sql("UPDATE homeward.objects SET record = record || '{\"restricted\": \"yes\"}' WHERE id = %s", restricted)
    before = eu.authorize(good, a_station(eu), headers=AGAIN).json()
    none = homeward("policy", "shadow", "--config", na.config, check=False)
    assert none.returncode == 1 and "no shadow policy" in none.stderr

    policy = json.loads((na.folder / "policy.json").read_text())
    policy["version"] += 1
    policy["tests"], policy["invariants"] = policy["tests"][:1], policy["invariants"][:1]
    policy["tests"][0]["expect"] = {"decision": "permit"}
    policy["rules"] = [rule for rule in policy["rules"] if rule["id"] != "RESTRICTED"]
    next(rule for rule in policy["rules"] if rule["id"] == "TAP-SERVE")["fields"].remove("contract_ref")
    shadow = na.folder / "policy.next.json"
    shadow.write_text(json.dumps(policy))
    settings = na.settings()
    settings["policy"]["shadow_file"] = str(shadow)
    na.write_settings(settings)
    assert na.reload().status_code == 200

    for _ in range(3):
        after = eu.authorize(good, a_station(eu), headers=AGAIN).json()
        assert {**after, "exchange": ""} == {**before, "exchange": ""}
    assert eu.authorize(restricted, a_station(eu), headers=AGAIN).json()["status"] == "NOT_ALLOWED"
    assert eu.get("token", good, headers=AGAIN, station=a_station(eu)).json()["record"].get("uid") == good

    told = json.loads(homeward("policy", "shadow", "--config", na.config, "-o", "json").stdout)
    assert {(row["rule"], row["kind"]): row["count"] for row in told} == {
        ("TAP-SERVE", "fewer_fields"): 4, ("TAP-SERVE", "allows"): 1}
    assert na.metric("homeward_policy_shadow_disagreements_total", rule="TAP-SERVE", kind="fewer_fields") == 4
    assert na.metric("homeward_policy_shadow_decisions_total") == 5
    line = next(line for line in na.log().splitlines() if "policy_shadow_differs" in line)
    assert good not in line and good not in str(told) and restricted not in str(told)

    shadow.write_text("{")
    refused = na.reload()
    assert refused.status_code == 400 and "policy.next.json" in refused.text
