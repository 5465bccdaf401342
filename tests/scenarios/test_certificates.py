"""Certificates while the mesh is running: another authority, a list that lapses, files that do not fit."""
import datetime
import json
import os
import pathlib
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from certificates import Authority
from mesh import a_station, add_tokens, assert_records_pair, eventually, good_tokens, homeward


def files(region):
    """Where this region's TLS files are, by name."""
    return {name: (region.folder / path).resolve() for name, path in region.settings()["tls"].items()}


def own_files(mesh):
    """Gives each region copies of its own, since a development mesh shares one folder, and restarts it on them."""
    for region in mesh.regions.values():
        folder = region.folder / "tls"
        folder.mkdir()
        settings = region.settings()
        for name, path in files(region).items():
            (folder / path.name).write_bytes(path.read_bytes())
            (folder / path.name).chmod(0o600 if name == "key" else 0o644)
            settings["tls"][name] = f"tls/{path.name}"
        region.write_settings(settings)
        homeward("dev", "stop", "--dir", mesh.folder, "--region", region.name)
        for path in folder.iterdir():
            os.chown(path, region.folder.stat().st_uid, region.folder.stat().st_gid)
        region.start()
        eventually(region.is_ready, what=f"{region.name} on its own files")


def write_list(authority, path, revoked=(), days=9):
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
               .last_update(now - datetime.timedelta(days=10)).next_update(now + datetime.timedelta(days=days)))
    for serial in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build())
    text = builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    if path is not None:
        pathlib.Path(path).write_bytes(text)
    return text


def reloads(region):
    return region.log().count("certificates_reloaded")


def await_reload(region, before):
    eventually(lambda: reloads(region) > before, within_s=4, what=f"{region.name} to take its files")


def ask(region, cards):
    """One lookup that must cross, over whatever connection there is."""
    return region.authorize(cards.pop(), a_station(region), headers={"Homeward-Timeout-Ms": "1500"})


@pytest.mark.sanitized
def test_an_authority_is_replaced_without_a_failed_request(own_mesh, tmp_path):
    """Both are trusted, then every region gets a certificate of the new one, then the old one goes."""
    na, eu = own_mesh["na"], own_mesh["eu"]
    cards = add_tokens(own_mesh, "na", 200)
    own_files(own_mesh)
    domain = na.settings()["trust_domain"]
    old, new = Authority.of_mesh(f"{own_mesh.folder}/pki"), Authority.stranger()
    old_ca, new_ca = (each.certificate.public_bytes(serialization.Encoding.PEM) for each in (old, new))
    old_list, new_list = write_list(old, None), write_list(new, None)

    def replace(region, contents):
        before = reloads(region)
        for name, content in contents.items():
            files(region)[name].write_bytes(content)
        await_reload(region, before)

    def assert_all_is_well():
        answers = [ask(eu, cards) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 5, [answer.text for answer in answers]

    for region in own_mesh.regions.values():
        replace(region, {"crl": old_list + new_list, "ca": old_ca + new_ca})
        assert_all_is_well()
    for region in own_mesh.regions.values():
        certificate, key = new.issue(tmp_path, region.name, [f"spiffe://{domain}/region/{region.name}"])
        replace(region, {"key": pathlib.Path(key).read_bytes(), "certificate": pathlib.Path(certificate).read_bytes()})
        assert_all_is_well()
    for region in own_mesh.regions.values():
        replace(region, {"ca": new_ca, "crl": new_list})
        assert_all_is_well()
    assert eu.metric("homeward_peer_errors_total", peer="na", reason="tls_certificate_error") == 0
    assert_records_pair(eu, na)


def test_a_list_past_its_next_update_refuses_everyone_and_says_so(own_mesh):
    """No list in date means nobody knows who is revoked: closed, loudly, and open again with a new list."""
    na, eu = own_mesh["na"], own_mesh["eu"]
    cards = add_tokens(own_mesh, "na", 50)
    own_files(own_mesh)
    authority = Authority.of_mesh(f"{own_mesh.folder}/pki")
    path = files(na)["crl"]

    before = reloads(na)
    write_list(authority, path, days=4 / 86400)
    await_reload(na, before)
    assert ask(eu, cards).status_code == 200
    lapses = na.metric("homeward_tls_certificate_expiry_timestamp_seconds", role="crl")
    assert lapses - time.time() < 4
    eventually(lambda: time.time() > lapses, what="the end of the list")

    eventually(lambda: ask(eu, cards).status_code == 503, within_s=5, every_s=0.3, what="the refusal")
    eventually(lambda: "next update" in na.log(), what="the reason in the log")
    eventually(lambda: "certificate_lapsed" in na.log() and "tls.crl" in na.log(), what="the alarm in the log")
    assert na.log().count("certificate_lapsed") == 1, "said every second"
    told = [data["kind"] for _, data in na.system_events("homeward.certificate.expiring")]
    assert told.count("revocation_list") == 1, told
    assert na.get("token", good_tokens(na)[0]).status_code == 200, "objects at home need no peers"

    before = reloads(na)
    write_list(authority, path)
    await_reload(na, before)
    eventually(lambda: ask(eu, cards).status_code == 200, within_s=5, every_s=0.3, what="the way back")
    assert na.is_ready()


def test_files_that_do_not_fit_are_refused_and_the_old_ones_serve(own_mesh, tmp_path):
    na, eu = own_mesh["na"], own_mesh["eu"]
    cards = add_tokens(own_mesh, "na", 20)
    own_files(own_mesh)
    good = {name: path.read_bytes() for name, path in files(na).items()}
    domain = na.settings()["trust_domain"]
    ours = Authority.of_mesh(f"{own_mesh.folder}/pki")
    other = ours.issue(tmp_path, "ap", [f"spiffe://{domain}/region/ap"])
    for name, content, reason in (("certificate", pathlib.Path(other[0]).read_bytes(), "not the key of"),
                                  ("ca", b"", "holds no CA"), ("crl", b"garbage", "holds no CRL")):
        files(na)[name].write_bytes(content)
        refused = na.reload()
        assert refused.status_code == 400 and reason in refused.text, refused.text
        assert ask(eu, cards).status_code == 200
        files(na)[name].write_bytes(good[name])
    assert na.reload().status_code == 200
    assert json.loads(na.session.get(na.url("/admin/v1/status", admin=True)).text)["region"] == "na"
