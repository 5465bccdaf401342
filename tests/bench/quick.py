#!/usr/bin/env python3
"""Quick benchmark: homeward beside nginx, in one run, on the same cores, with the same record and certificates.

  cached     homeward's cache hit            against  nginx proxy_cache hit
  delegated  a lookup carried to another     against  nginx as a mutual-TLS reverse proxy
             region, gate and record on               to another nginx

What is measured, the front, has core 0 to itself: the asking region with all it needs, so
homeward with one engine and one HTTP thread and also the PostgreSQL that keeps its access
record; or one nginx worker.  What the front talks to has core 1, for both: the load
generator, and the other region with its PostgreSQL, or the nginx behind the proxy.

Every delegated lookup asks for another id and with no-cache, so that neither joining nor the
cache helps.  nginx is as a careful operator would run it: warm upstream connections that a
client's leaving does not close, sendfile, open files cached, no access log; and while its
cache is measured, the server behind it is asked nothing.  Rounds alternate, A B A B, and the
ratio is the median of the rounds' ratios.
"""
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))

from mesh import Mesh, a_station, add_tokens, eventually, free_port  # noqa: E402

FRONT_CORE, OTHER_CORE = "0", "1"
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = int(os.environ.get("SECONDS_EACH", "2"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "256"))
KEYS = 20_000


def pin(pid, core):
    # With all its threads; one that has ended meanwhile is no loss.
    subprocess.run(["taskset", "-apc", core, str(pid)], capture_output=True, check=False)


def tree(pid):
    below = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    found = [pid]
    for child in below:
        found += tree(int(child))
    return found


def cpu_s(pids):
    """CPU seconds used so far by these processes and all below them."""
    total = 0
    for pid in {one for pid in pids for one in tree(pid)}:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


class Side:
    """One of the two that are compared: where to ask, what to ask, and whose CPU time it costs."""

    def __init__(self, name, folder, port, paths, front, behind, headers=()):
        self.name, self.front, self.behind = name, front, behind
        self.url = f"http://127.0.0.1:{port}"
        self.script = pathlib.Path(folder) / f"wrk-{name}-{len(os.listdir(folder))}.lua"
        listing = self.script.with_suffix(".txt")
        listing.write_text("\n".join(paths))
        lines = "\n".join(f'  wrk.headers["{key}"] = "{value}"' for key, value in headers)
        # Each run goes on with other keys, so that no round repeats the one before it.
        self.script.write_text(f"""
local requests, turn = {{}}, 0
function init(args)
{lines}
  for path in io.lines("{listing}") do requests[#requests + 1] = wrk.format("GET", path) end
  turn = tonumber(args[1]) % #requests
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
""")
        self.asked = 0

    def run(self, seconds=SECONDS, connections=CONNECTIONS):
        """One round.  Every answer must be a 200."""
        front, behind, load = cpu_s(self.front), cpu_s(self.behind), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(["taskset", "-c", OTHER_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency",
                               "-s", str(self.script), self.url, str(self.asked)], capture_output=True, text=True, check=True)
        assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
        load_after = resource.getrusage(resource.RUSAGE_CHILDREN)
        count = int(re.search(r"(\d+) requests in", done.stdout).group(1))
        self.asked += count
        self.rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout).group(1))
        self.p99 = re.search(r"99%\s+(\S+)", done.stdout).group(1)
        self.front_us = (cpu_s(self.front) - front) / count * 1e6
        self.behind_us = (cpu_s(self.behind) - behind) / count * 1e6
        self.load_us = (load_after.ru_utime + load_after.ru_stime - load.ru_utime - load.ru_stime) / count * 1e6
        return self

    def told(self):
        return (f"{self.name} {self.rate:,.0f}/s (p99 {self.p99}; CPU us a request: front {self.front_us:.0f},"
                f" behind {self.behind_us:.0f}, wrk {self.load_us:.0f})")


class Nginx:
    def __init__(self, folder, name, core, http):
        self.folder = pathlib.Path(folder) / f"nginx-{name}"
        self.folder.mkdir()
        config = self.folder / "nginx.conf"
        config.write_text(f"""
worker_processes 1; daemon off; pid {self.folder}/pid; error_log {self.folder}/error.log; user root;
events {{ worker_connections 8192; }}
http {{ access_log off; sendfile on; tcp_nodelay on; open_file_cache max=30000 inactive=10m; open_file_cache_valid 10m; keepalive_requests 1000000; keepalive_timeout 60s;
  client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy; fastcgi_temp_path {self.folder}/fastcgi;
  uwsgi_temp_path {self.folder}/uwsgi; scgi_temp_path {self.folder}/scgi;
  {http}
}}
""")
        self.process = subprocess.Popen(["taskset", "-c", core, "nginx", "-p", str(self.folder), "-c", str(config)],
                                        stderr=subprocess.DEVNULL)

    @property
    def pid(self):
        return self.process.pid

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
    back, cache, proxy, asked = free_port(), free_port(), free_port(), free_port()
    tls = (f"ssl_certificate {pki}/na.pem; ssl_certificate_key {pki}/na.key; ssl_client_certificate {pki}/ca.pem; ssl_verify_client on;"
           " ssl_verify_depth 2; ssl_protocols TLSv1.3;")
    # Certificates name a region in a URI, which nginx cannot check: it checks the client's certificate only.
    client = (f"proxy_ssl_certificate {pki}/eu.pem; proxy_ssl_certificate_key {pki}/eu.key; proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse on;"
              " proxy_http_version 1.1; proxy_set_header Connection ''; proxy_ignore_client_abort on;")
    upstream = f"upstream back {{ server 127.0.0.1:{back}; keepalive {CONNECTIONS}; keepalive_requests 100000000; keepalive_timeout 10m; }}"
    servers = {
        "back": Nginx(folder, "back", OTHER_CORE, f"""
  server {{ listen 127.0.0.1:{back} ssl backlog=4096; {tls}
    location / {{ default_type application/json; return 200 '{record}'; }} }}
  server {{ listen 127.0.0.1:{asked}; location / {{ stub_status; }} }}"""),
        "cache": Nginx(folder, "cache", FRONT_CORE, f"""
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=hits:16m max_size=256m inactive=60m;
  {upstream}
  server {{ listen 127.0.0.1:{cache} backlog=4096;
    location / {{ proxy_pass https://back; {client} proxy_cache hits; proxy_cache_valid 200 60m; proxy_cache_key $uri; }} }}"""),
        "proxy": Nginx(folder, "proxy", FRONT_CORE, f"""
  {upstream}
  server {{ listen 127.0.0.1:{proxy} backlog=4096;
    location / {{ proxy_pass https://back; {client} }} }}"""),
    }
    for port in (back, cache, proxy, asked):
        eventually(lambda: listening(port), what="nginx")
    return servers, cache, proxy, asked


def requests_so_far(port):
    """Of the nginx behind the others; the question itself is one more each time."""
    return int(requests.get(f"http://127.0.0.1:{port}/", timeout=5).text.split("\n")[2].split()[2])


def start_homeward(mesh):
    """One engine and one HTTP thread, as nginx has one worker; each region with its PostgreSQL on a core."""
    for name, core in (("eu", FRONT_CORE), ("na", OTHER_CORE)):
        region = mesh[name]
        settings = region.settings()
        settings.setdefault("api", {})["threads"] = 1
        settings.get("access_log", {}).pop("checkpoint_interval_ms", None)  # the development mesh hurries; a real region does not
        region.write_settings(settings)
        os.kill(region.pid, signal.SIGTERM)
        eventually(lambda: not pathlib.Path(f"/proc/{region.pid}").exists(), what="the daemon's end")
        region.start()
        for pid in [*tree(region.postgres_pid), *tree(region.pid)]:
            pin(pid, core)
    return mesh["eu"], mesh["na"]


def record_of_512_bytes():
    record = {"valid": True, "restricted": "no", "consent_analytics": "no", "valid_until": "2099-01-01T00:00:00Z", "contract_ref": ""}
    record["contract_ref"] = "C" * (512 - len(json.dumps({key: record[key] for key in ("valid", "valid_until", "contract_ref")})) - 30)
    return record


def compare(name, ours, theirs, target):
    ratios = []
    for _ in range(ROUNDS):
        ours.run()
        theirs.run()
        ratios.append(ours.rate / theirs.rate)
        print(f"  {name}: {ours.told()}\n  {' ' * len(name)}  {theirs.told()}, ratio {ratios[-1]:.2f}", flush=True)
    return f"ratio {name} {statistics.median(ratios):.2f} target >= {target}"


def measure(folder, mesh):
    eu, na = start_homeward(mesh)
    cards, station = add_tokens(mesh, "na", KEYS), a_station(eu)
    na.sql("UPDATE homeward.objects SET record = record || %s::jsonb WHERE type = 'token' AND id = ANY(%s)",
           json.dumps(record_of_512_bytes()), cards)
    answer = eu.get("token", cards[0], station=station)
    assert answer.status_code == 200, answer.text
    servers, cache, proxy, asked = start_nginx(folder, f"{mesh.folder}/pki", answer.text)
    try:
        paths = [f"/v1/objects/token/{card}?purpose=charge.authorize&station={station}" for card in cards]
        token = ("Authorization", f"Bearer {eu.token()}")
        front, behind = [eu.pid, eu.postgres_pid], [na.pid, na.postgres_pid]
        hot = 1_000
        ours = Side("homeward", folder, eu.api, paths[:hot], front, behind, [token])
        theirs = Side("nginx", folder, cache, [f"/{card}" for card in cards[:hot]], [servers["cache"].pid], [servers["back"].pid])
        for side in (ours, theirs):
            eventually(lambda: side.run(1, 8).asked > 2 * hot, what="every key asked twice while warming up")
            print("  warm:", side.told())
        before = requests_so_far(asked), eu.metric("homeward_lookups_total", result="miss")
        cached = compare("cached", ours, theirs, 1.0)
        assert (requests_so_far(asked) - 1, eu.metric("homeward_lookups_total", result="miss")) == before, "a hit was none"
        ours = Side("homeward", folder, eu.api, paths, front, behind, [token, ("Cache-Control", "no-cache")])
        theirs = Side("nginx", folder, proxy, [f"/{card}" for card in cards], [servers["proxy"].pid], [servers["back"].pid])
        for side in (ours, theirs):
            eventually(lambda: side.run(1).asked > KEYS, within_s=30, what="every driver was met once")
            print("  warm:", side.told())
        delegated = compare("delegated", ours, theirs, 1.0)
    finally:
        for server in servers.values():
            server.stop()
    print(f"  {len(answer.content)} bytes an answer, {eu.metric('homeward_delegate_lookups_total') / eu.metric('homeward_delegate_requests_total'):.0f}"
          " lookups a request to the peer")
    return cached, delegated


def main():
    for program in ("nginx", "wrk", "taskset"):
        if shutil.which(program) is None:
            sys.exit(f"bench: {program} is missing; run make deps")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="homeward-bench-") as folder, Mesh("na", "eu", options=("--engines", "1")) as mesh:
        ratios = measure(folder, mesh)
    print(f"  {time.monotonic() - began:.0f} s in all")
    for line in ratios:
        print(line)


if __name__ == "__main__":
    main()
