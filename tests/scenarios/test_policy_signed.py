"""With trusted keys a region takes only signed policies, and never an older one again; an expired one denies people."""
import json
import os
import signal

from mesh import a_station, eventually, good_tokens, homeward


class Office:
    """Who signs: keeps its key away from the region's folder."""

    def __init__(self, region, folder):
        self.region, self.key = region, folder / "office.key"
        self.vkey = homeward("policy", "keygen", self.key, "--name", "office").stdout.strip()
        self.path = region.folder / "policy.json"
        self.policy = json.loads(self.path.read_text())

    def write(self, sign=True, **changes):
        self.path.write_text(json.dumps({**self.policy, **changes}))
        if sign:
            homeward("policy", "sign", self.path, "--key", self.key)


def in_force(region):
    return region.session.get(region.url("/admin/v1/status", admin=True), timeout=10).json()["policy"]


def assert_refused(region, says):
    before, count = in_force(region), region.metric("homeward_policy_loads_total", result="refused")
    answer = region.reload()
    assert answer.status_code == 400 and says in answer.text, answer.text
    assert in_force(region) == before
    assert region.metric("homeward_policy_loads_total", result="refused") == count + 1
    assert "policy_refused" in region.log()


def test_only_signed_and_newer_policies_come_into_force(own_mesh, tmp_path):
    eu = own_mesh["eu"]
    office = Office(eu, tmp_path)
    settings = eu.settings()
    settings["policy"]["keys"] = office.vkey
    eu.write_settings(settings)

    assert_refused(eu, "the policy is not signed")
    office.write(version=5)
    assert eu.reload().status_code == 200 and in_force(eu).startswith("5:")
    assert homeward("policy", "verify", "--config", eu.config).stdout.startswith("good: signed by office: version 5")

    office.write(version=6, sign=False)
    assert_refused(eu, "signs something else")
    assert homeward("policy", "verify", "--config", eu.config, check=False).returncode == 1
    office.write(version=6)
    assert eu.reload().status_code == 200 and in_force(eu).startswith("6:")
    office.write(version=6, not_after="2099-01-01T00:00:00Z")
    assert_refused(eu, "raise the version")
    office.write(version=5)
    assert_refused(eu, "version 5 is older than 6")

    # A restart must not forget it.
    eu.kill(signal.SIGKILL)
    eventually(lambda: not alive(eu.pid), what="the end of the daemon")
    refused = homeward("serve", "--config", eu.config, check=False)
    assert refused.returncode == 78 and "version 5 is older than 6" in refused.stderr
    office.write(version=7)
    eu.start()
    eventually(eu.is_ready, what="eu is ready")
    assert in_force(eu).startswith("7:")


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def test_an_expired_policy_denies_people_and_not_stations(own_mesh, tmp_path):
    na, eu = own_mesh["na"], own_mesh["eu"]
    card, station = good_tokens(na)[0], a_station(na)
    again = {"Cache-Control": "no-cache"}
    assert eu.authorize(card, a_station(eu), headers=again).json()["status"] == "ALLOWED"
    Office(na, tmp_path).write(version=2, not_after="2020-01-01T00:00:00Z", sign=False)
    assert na.reload().status_code == 200

    denied = eu.authorize(card, a_station(eu), headers=again)
    assert denied.status_code == 404 or denied.json().get("status") != "ALLOWED", denied.text
    assert na.get("token", card).status_code == 404, "not even at home"
    assert eu.get("station", station, headers=again).status_code == 200
    assert na.metric("homeward_policy_not_after_timestamp_seconds") == 1577836800
