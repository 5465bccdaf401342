"""The record of processing activities: what may leave from the policy, what has left from the access log."""
import json

from mesh import a_station, good_tokens, homeward


def test_the_record_counts_what_crossed_under_each_rule(mesh):
    na, eu = mesh["na"], mesh["eu"]
    first, second = good_tokens(na, 2)
    for card in (first, second, first):
        assert eu.authorize(card, a_station(eu), headers={"Cache-Control": "no-cache"}).json()["status"] == "ALLOWED"
    na.await_index()

    record = json.loads(homeward("policy", "ropa", "--config", na.config, "--json").stdout)
    assert record["region"] == "na" and record["former_rules"] == []
    activities = {each["rule"]: each for each in record["activities"]}
    assert "HOME" not in activities and "RESTRICTED" not in activities, "only what lets something out"
    tap = activities["TAP-SERVE"]
    assert tap["purposes"] == ["charge.authorize"] and tap["basis"] == {"art6": "6(1)(b)", "ch5": "46(2)(c)"}
    assert tap["cache_ttl_max_s"] == 900 and tap["recipients"] is None
    [crossed] = tap["crossings"]
    assert (crossed["region"], crossed["purpose"], crossed["crossings"], crossed["subjects"]) == ("eu", "charge.authorize", 3, 2)

    text = homeward("audit", "report", "ropa", "--config", na.config, "--to", "2020-01-01T00:00:00Z").stdout
    assert text.startswith("# Record of processing activities: na") and "3 to eu" not in text and "on record: none" in text
    assert "3 to eu for charge.authorize, 2 subjects" in homeward("audit", "report", "ropa", "--config", na.config).stdout
    assert first not in text
