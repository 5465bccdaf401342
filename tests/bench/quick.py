#!/usr/bin/env python3
"""Quick benchmark: homeward beside nginx, in one run, on the same cores, with the same record and certificates.

  cached     homeward's cache hit            against  nginx proxy_cache hit
  delegated  a lookup carried to another     against  nginx as a mutual-TLS reverse proxy
             region, gate and record on               to another nginx

What is measured (the front) runs alone on core 0: homeward of the asking region, or the nginx
proxy.  Everything else (load generator, the other side, databases) runs on core 1, for both.
Rounds alternate, A B A B, and the ratio is the median of the rounds' ratios.
"""
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))

from mesh import Mesh, a_station, add_tokens, eventually, free_port, homeward  # noqa: E402

FRONT_CORE, OTHER_CORE = "0", "1"
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = int(os.environ.get("SECONDS_EACH", "3"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "256"))
KEYS = 20_000


def pin(pid, core):
    for task in os.listdir(f"/proc/{pid}/task"):
        subprocess.run(["taskset", "-pc", core, task], capture_output=True, check=False)


def tree(pid):
    below = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    found = [pid]
    for child in below:
        found += tree(int(child))
    return found


def wrk(folder, url, token, paths):
    """One round; returns requests a second.  Every answer must be a 200."""
    script = pathlib.Path(folder) / "wrk.lua"
    listing = pathlib.Path(folder) / "paths.txt"
    listing.write_text("\n".join(paths))
    script.write_text(f"""
local requests, turn = {{}}, 0
function init(args)
  wrk.headers["Authorization"] = "Bearer {token}"
  {'wrk.headers["Cache-Control"] = "no-cache"' if 'delegated' in url[1] else ''}
  for path in io.lines("{listing}") do requests[#requests + 1] = wrk.format("GET", path) end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
""")
    done = subprocess.run(["taskset", "-c", OTHER_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "-s", str(script), url[0]],
                          capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        print(done.stdout, file=sys.stderr)
    assert "Non-2xx" not in done.stdout, "not every answer was a 200"
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout).group(1))
    p99 = re.search(r"99%\s+(\S+)", done.stdout).group(1)
    return rate, p99


class Nginx:
    def __init__(self, folder, name, core, http):
        self.folder = pathlib.Path(folder) / f"nginx-{name}"
        self.folder.mkdir()
        config = self.folder / "nginx.conf"
        config.write_text(f"""
worker_processes 1; daemon off; pid {self.folder}/pid; error_log {self.folder}/error.log; user root;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000; keepalive_timeout 60s;
  client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy; fastcgi_temp_path {self.folder}/fastcgi;
  uwsgi_temp_path {self.folder}/uwsgi; scgi_temp_path {self.folder}/scgi;
  {http}
}}
""")
        self.process = subprocess.Popen(["taskset", "-c", core, "nginx", "-p", str(self.folder), "-c", str(config)],
                                        stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def listening(port):
    import socket
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
        return True
    except OSError:
        return False


def start_nginx(folder, pki, record):
    """back: serves the record over mutual TLS; cache: proxy_cache before it; proxy: mutual TLS to it each time."""
    back, cache, proxy = free_port(), free_port(), free_port()
    tls = f"ssl_certificate {pki}/na.pem; ssl_certificate_key {pki}/na.key; ssl_client_certificate {pki}/ca.pem; ssl_verify_client on; ssl_protocols TLSv1.3;"
    client = (f"proxy_ssl_certificate {pki}/eu.pem; proxy_ssl_certificate_key {pki}/eu.key; proxy_ssl_trusted_certificate {pki}/ca.pem;"
              " proxy_ssl_verify on; proxy_ssl_verify_depth 2; proxy_ssl_name na.homeward.internal; proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse on;"
              " proxy_http_version 1.1; proxy_set_header Connection '';")
    client = client.replace("proxy_ssl_verify on;", "proxy_ssl_verify off;")
    (pathlib.Path(folder) / "record.json").write_text(record)
    servers = [
        Nginx(folder, "back", OTHER_CORE, f"""
  server {{ listen 127.0.0.1:{back} ssl backlog=4096; {tls}
    location / {{ default_type application/json; return 200 '{record}'; }} }}"""),
        Nginx(folder, "cache", FRONT_CORE, f"""
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=hits:16m max_size=256m inactive=60m;
  upstream back {{ server 127.0.0.1:{back}; keepalive 64; }}
  server {{ listen 127.0.0.1:{cache} backlog=4096;
    location / {{ proxy_pass https://back; {client} proxy_cache hits; proxy_cache_valid 200 60m; proxy_cache_key $uri; }} }}"""),
        Nginx(folder, "proxy", FRONT_CORE, f"""
  upstream back {{ server 127.0.0.1:{back}; keepalive 256; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{proxy} backlog=4096;
    location / {{ proxy_pass https://back; {client} }} }}"""),
    ]
    for port in (back, cache, proxy):
        eventually(lambda: listening(port), what="nginx")
    return servers, cache, proxy


def start_homeward(mesh):
    """One engine and one HTTP thread on the front core, as nginx has one worker."""
    eu = mesh["eu"]
    for name, core in (("eu", FRONT_CORE), ("na", OTHER_CORE)):
        region = mesh[name]
        for pid in tree(region.postgres_pid):
            pin(pid, OTHER_CORE)
        pin(region.pid, core)
    return eu


def record_of_512_bytes():
    record = {"valid": True, "restricted": "no", "consent_analytics": "no", "valid_until": "2099-01-01T00:00:00Z", "contract_ref": ""}
    record["contract_ref"] = "C" * (512 - len(json.dumps({key: record[key] for key in ("valid", "valid_until", "contract_ref")})) - 30)
    return record


def compare(name, folder, ours, theirs, ours_paths, theirs_paths, token, target):
    ratios = []
    for _ in range(ROUNDS):
        our_rate, our_p99 = wrk(folder, (ours, name), token, ours_paths)
        their_rate, their_p99 = wrk(folder, (theirs, name), token, theirs_paths)
        ratios.append(our_rate / their_rate)
        print(f"  {name}: homeward {our_rate:,.0f}/s (p99 {our_p99}), nginx {their_rate:,.0f}/s (p99 {their_p99}), ratio {ratios[-1]:.2f}", flush=True)
    print(f"ratio {name} {statistics.median(ratios):.2f} target >= {target}", flush=True)


def main():
    for program in ("nginx", "wrk", "taskset"):
        if shutil.which(program) is None:
            sys.exit(f"bench: {program} is missing; run make deps")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="homeward-bench-") as folder, Mesh("na", "eu", options=("--engines", "1")) as mesh:
        eu, na = start_homeward(mesh), mesh["na"]
        cards, station = add_tokens(mesh, "na", KEYS), a_station(eu)
        record = record_of_512_bytes()
        na.sql("UPDATE homeward.objects SET record = record || %s::jsonb WHERE type = 'token' AND id = ANY(%s)", json.dumps(record), cards)
        answer = eu.get("token", cards[0], station=station)
        assert answer.status_code == 200, answer.text
        servers, cache, proxy = start_nginx(folder, f"{mesh.folder}/pki", answer.text.replace("'", ""))
        try:
            ours = [f"/v1/objects/token/{card}?purpose=charge.authorize&station={station}" for card in cards]
            theirs = [f"/{card}" for card in cards]
            hot = 1_000
            for port, paths in ((eu.api, ours), (cache, theirs)):
                wrk(folder, (f"http://127.0.0.1:{port}", "warm"), eu.token(), paths[:hot])
            compare("cached", folder, f"http://127.0.0.1:{eu.api}", f"http://127.0.0.1:{cache}", ours[:hot], theirs[:hot], eu.token(), 1.0)
            compare("delegated", folder, f"http://127.0.0.1:{eu.api}", f"http://127.0.0.1:{proxy}", ours, theirs, eu.token(), 1.0)
        finally:
            for server in servers:
                server.stop()
    print(f"({time.monotonic() - began:.0f} s, {len(answer.content)} bytes an answer)")


main()
