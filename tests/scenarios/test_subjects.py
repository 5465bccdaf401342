"""Erasing a subject: its key, its record and its routes go, here and in every region that was sent something."""
import signal
import subprocess
import uuid

import psycopg2
import pytest
import requests

from mesh import Mesh, a_station, add_tokens, eventually, homeward


def erasures(region):
    return region.session.get(region.url("/admin/v1/subjects/erasures", admin=True), timeout=10).json()


def files_with(region, text):
    """Files of the region's folder that hold the text."""
    return subprocess.run(["grep", "-rlaF", text, str(region.folder)], capture_output=True, text=True, check=False).stdout.splitlines()


def clean(region):
    """What docs/OPERATIONS.md says under "What remains": dead rows go, and the write-ahead log of before is removed."""
    connection = psycopg2.connect(region.dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in ("VACUUM (FULL, ANALYZE)", "SELECT pg_switch_wal()", "CHECKPOINT"):
            cursor.execute(statement)
    connection.close()


def test_a_subject_is_erased_everywhere_even_where_a_region_was_down():
    with Mesh("na", "eu", "ap") as mesh:
        na, eu, ap = mesh["na"], mesh["eu"], mesh["ap"]
        card, other = add_tokens(mesh, "na", 2, prefix="0E")
        station = a_station(eu)
        for _ in range(2):
            assert eu.get("token", card, station=station, headers={"Cache-Control": "no-cache"}).status_code == 200
        assert eu.authorize(card, station).json()["source"] == "cache"
        assert eu.authorize(other, station).json()["status"] == "ALLOWED"
        eventually(lambda: len(eu.sql("SELECT 1 FROM homeward.subject_keys")) == 2, what="keys at eu")
        served = [entry for entry in na.entries() if entry["k"] == "serve"]
        subject = served[0]["sub"]
        assert subject.startswith("p1.")

        assert files_with(na, card) and files_with(eu, card)
        eu.kill(signal.SIGTERM)
        eu.await_end()
        done = homeward("subject", "erase", "token", card, "--wait", "0", "--config", na.config, check=False)
        assert done.returncode == 75, done.stdout + done.stderr
        assert "0 of 1 regions have acknowledged" in done.stdout, done.stdout
        [pending] = erasures(na)
        assert (pending["region"], pending["state"], pending["subject"]) == ("eu", "pending", subject)
        assert na.get("token", card).status_code == 404
        assert na.sql("SELECT count(*) FROM homeward.subject_keys")[0][0] == 1

        eu.start()
        eventually(lambda: erasures(na)[0]["state"] == "acknowledged", within_s=20, what="eu's acknowledgement")
        eventually(lambda: eu.metric("homeward_route_table_generation") >= eu.sql("SELECT generation FROM homeward.route_generation")[0][0],
                   what="eu's routes")
        assert eu.authorize(card, station).json().get("status") != "ALLOWED"
        assert eu.authorize(other, station).json()["status"] == "ALLOWED"
        assert eu.sql("SELECT count(*) FROM homeward.subject_keys")[0][0] == 1

        [here] = [entry for entry in na.entries() if entry["k"] == "erase"]
        [there] = [entry for entry in eu.entries() if entry["k"] == "erase"]
        assert here["sub"] == subject and here["n"] == 1 and there["peer"] == "na"
        assert here["x"] == there["x"] == pending["erasure"]
        assert there["sub"].startswith("p1.") and there["sub"] != subject
        assert ap.sql("SELECT count(*) FROM homeward.erasures")[0][0] == 0

        ap.sql("DELETE FROM homeward.routes WHERE key = %s", card)  # ap was sent nothing; its operator keeps its routes
        for region in (na, eu):
            clean(region)
            eventually(lambda: not files_with(region, card), within_s=5, what=f"no trace in {files_with(region, card)}")



@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_peer_cannot_have_forgotten_what_is_at_home_here():
    """Neither by our routes, nor while no route names it: its key is all that its entries can be read with."""
    with Mesh("na", "eu") as mesh:
        na, eu = mesh["na"], mesh["eu"]
        [card] = add_tokens(mesh, "na", 1, prefix="0F")
        assert eu.get("token", card, station=a_station(eu)).status_code == 200
        keys = "SELECT count(*) FROM homeward.subject_keys"
        eventually(lambda: na.sql(keys) == [(1,)], what="its key at na")

        def ask(identifier):
            tls = eu.settings()["tls"]
            return requests.post(f"https://127.0.0.1:{na.peer}/peer/v1/forget", timeout=10, verify=False,
                                 json={"erasure": f"01a1fcb2-074e-71eb-8815-{uuid.uuid4().hex[:12]}", "type": "token", "id": identifier},
                                 cert=(str(eu.folder / tls["certificate"]), str(eu.folder / tls["key"]))).status_code

        assert ask(card) == 403
        na.sql("DELETE FROM homeward.routes WHERE key = %s", card)
        eventually(lambda: na.metric("homeward_route_table_generation") >= na.sql("SELECT generation FROM homeward.route_generation")[0][0],
                   what="na's routes")
        assert ask(card) == 403
        assert na.sql(keys) == [(1,)] and na.sql("SELECT count(*) FROM homeward.objects WHERE id = %s", card) == [(1,)]
        assert ask("0FFFFFFFFFFFFF") == 200
