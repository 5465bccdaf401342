"""`homeward dev`: up quickly, two at once, gone without a trace."""
import pathlib
import subprocess
import time

from mesh import HOMEWARD, Mesh, a_station, good_tokens


def processes(folder):
    found = subprocess.run(["pgrep", "-f", folder], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_two_meshes_do_not_meet_and_leave_nothing():
    began = time.monotonic()
    with Mesh("na", "eu") as first:
        assert time.monotonic() - began < 20
        with Mesh("na", "eu") as second:
            assert {region.api for region in first.regions.values()}.isdisjoint(region.api for region in second.regions.values())
            card = good_tokens(first["na"])[0]
            assert first["eu"].authorize(card, a_station(first["eu"])).json()["status"] == "ALLOWED"
            second_folder = second.folder
        assert not processes(second_folder) and not pathlib.Path(second_folder).exists()
        assert first["eu"].is_ready() and first["na"].is_ready()
        first_folder = first.folder
    assert not processes(first_folder) and not pathlib.Path(first_folder).exists()


def test_commands_explain_themselves():
    for arguments in ([], ["--help"], ["dev", "--help"], ["routes", "--help"], ["import", "--help"], ["replay", "--help"], ["pki", "--help"]):
        done = subprocess.run([HOMEWARD, *arguments], capture_output=True, text=True, timeout=10, check=False)
        assert "usage" in (done.stdout + done.stderr).lower() or "homeward" in done.stdout, arguments
    wrong = subprocess.run([HOMEWARD, "ruotes"], capture_output=True, text=True, timeout=10, check=False)
    assert wrong.returncode == 64 and "routes" in wrong.stderr
