# SPDX-License-Identifier: Apache-2.0
"""Private RabbitMQ brokers, one a region, with mutual TLS, in a folder of their own.

Nothing of the system's broker is used: own node names, cookie, name server (epmd) and ports.
Every process is this one's child and is ended by its own handle; the folder is removed.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import requests

from mesh import SCRATCH, Begun, eventually, free_port

PLUGINS = ["rabbitmq_management", "rabbitmq_federation", "rabbitmq_federation_management", "rabbitmq_auth_mechanism_ssl"]
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
VHOST = "homeward"


MQTT = """
mqtt.listeners.tcp = none
mqtt.listeners.ssl.1 = 127.0.0.1:{port}
mqtt.ssl_cert_login = true
mqtt.allow_anonymous = false
mqtt.vhost = homeward
mqtt.exchange = homeward.mqtt
mqtt.retained_message_store = rabbit_mqtt_retained_msg_store_noop
"""


class Broker:
    def __init__(self, folder, region, pki, epmd_port, has_devices=False):
        self.region, self.folder = region, folder / region
        self.folder.mkdir()
        self.tls_port, self.http_port, self.distribution_port = free_port(), free_port(), free_port()
        self.url = f"https://localhost:{self.http_port}"
        self.link_port = self.tls_port  # where other regions' links come in; a test may put something before it
        self.pki, self.epmd_port, self.process = pki, epmd_port, None
        (self.folder / "rabbitmq.conf").write_text(f"""
listeners.tcp = none
listeners.ssl.1 = 127.0.0.1:{self.tls_port}
ssl_options.cacertfile = {pki}/ca.pem
ssl_options.certfile = {pki}/{region}.pem
ssl_options.keyfile = {pki}/{region}.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
auth_mechanisms.1 = EXTERNAL
ssl_cert_login_from = common_name
management.ssl.ip = 127.0.0.1
management.ssl.port = {self.http_port}
management.ssl.cacertfile = {pki}/ca.pem
management.ssl.certfile = {pki}/{region}.pem
management.ssl.keyfile = {pki}/{region}.key
cluster_name = {region}
default_user = operator
default_pass = only-on-loopback
vm_memory_high_watermark.absolute = 512MB
log.console = true
log.file = false
""")
        plugins, self.mqtt_port = PLUGINS, None
        if has_devices:
            plugins, self.mqtt_port = [*PLUGINS, "rabbitmq_mqtt"], free_port()
            with open(self.folder / "rabbitmq.conf", "a", encoding="utf-8") as settings:
                settings.write(MQTT.format(port=self.mqtt_port))
        (self.folder / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")

    def environment(self):
        folder = self.folder
        return {
            "PATH": os.environ["PATH"], "HOME": str(folder), "RABBITMQ_NODENAME": f"{self.region}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"), "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"), "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"), "RABBITMQ_SERVER_START_ARGS": "+S 2:1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-setcookie {self.region}-cookie -kernel inet_dist_use_interface {{127,0,0,1}}",
            "ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(self.epmd_port), "LC_ALL": "C.UTF-8",
        }

    def start(self):
        log = open(self.folder / "broker.log", "ab")
        self.process = subprocess.Popen([SERVER], env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        start_new_session=True)
        log.close()

    def control(self, *arguments):
        """rabbitmqctl, for what the management API cannot do."""
        done = subprocess.run([CONTROL, "-n", f"{self.region}@localhost", "--erlang-cookie", f"{self.region}-cookie", *arguments],
                              env=self.environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def api(self, method, path, body=None):
        answer = requests.request(method, self.url + path, json=body, auth=("operator", "only-on-loopback"), timeout=60,
                                  verify=f"{self.pki}/ca.pem")
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def is_ready(self):
        """True when the listener for events takes connections: the last thing a broker opens."""
        assert self.process.poll() is None, f"the broker of {self.region} ended:\n{self.log()}"
        try:
            self.api("GET", "/api/overview")
            for port in filter(None, (self.tls_port, self.mqtt_port)):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except (requests.RequestException, OSError, AssertionError):
            return False

    def is_up(self):
        return self.process is not None and self.process.poll() is None and self.is_ready()

    def log(self):
        path = self.folder / "broker.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def kill(self):
        """kill -9 of the broker and all its helpers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def take(self, queue, count=10000):
        """What is in a queue now, at most count, as (key, payload)."""
        taken = self.api("POST", f"/api/queues/{VHOST}/{queue}/get", {
            "count": count, "ackmode": "ack_requeue_false", "encoding": "auto"})
        return [(message["routing_key"], message["payload"]) for message in taken]

    def publish(self, exchange, key, payload):
        """As an operator, who may forge anything."""
        return self.api("POST", f"/api/exchanges/{VHOST}/{exchange}/publish", {
            "properties": {"delivery_mode": 2}, "routing_key": key, "payload": payload, "payload_encoding": "string"})["routed"]

    def add_queue(self, name, exchange, key, **arguments):
        self.api("PUT", f"/api/queues/{VHOST}/{name}", {"durable": True, "arguments": {"x-queue-type": "quorum", **arguments}})
        self.bind(exchange, name, key)

    def bind(self, exchange, queue, key):
        self.api("POST", f"/api/bindings/{VHOST}/e/{exchange}/q/{queue}", {"routing_key": key, "arguments": {}})

    def ask_to_stop(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)

    def stop(self, is_asked=True):
        if self.process is None:
            return
        if is_asked:
            self.ask_to_stop()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # helpers of the virtual machine that outlive it
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process = None


class Brokers(Begun):
    """`with Brokers("na", "eu", "ap") as brokers:` three brokers, and a mesh file for them.

    pki: a folder of certificates to use instead of new ones.  applications: by region, as the mesh file has them.
    """

    def __init__(self, *regions, pki=None, applications=None):
        self.program = os.environ["HOMEWARD"]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hw-brokers-", dir=SCRATCH))
        self.regions, self.applications = regions, applications or {}
        self.epmd, self.brokers = None, {}
        self.pki = pathlib.Path(pki) if pki is not None else None

    def begin(self):
        epmd_port = free_port()
        if self.pki is None:
            self.make_pki()
        for application in sum(self.applications.values(), []):
            self.run_ok("pki", "issue", "--dir", str(self.pki), "--application", application["name"])
        self.epmd = subprocess.Popen([shutil.which("epmd"), "-address", "127.0.0.1", "-port", str(epmd_port)],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for region in self.regions:
            has_devices = any("mqtt" in one["may"] for one in self.applications.get(region, []))
            self.brokers[region] = Broker(self.folder, region, self.pki, epmd_port, has_devices)
            self.brokers[region].start()
        # Seconds, on a machine with nothing else to do; minutes, where several tests start theirs on two slow cores.
        try:
            wait_for(lambda: all(broker.is_ready() for broker in self.brokers.values()), 300, "brokers that are ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None
        password = self.folder / "password"
        password.write_text("only-on-loopback\n")
        password.chmod(0o600)
        self.mesh_file = self.folder / "mesh.json"
        self.write_mesh({})

    def make_pki(self):
        self.pki = self.folder / "pki"
        self.run_ok("pki", "init", "--dir", str(self.pki), "--trust-domain", "lab.example")
        for region in self.regions:
            self.run_ok("pki", "issue", "--dir", str(self.pki), "--region", region, "--dns", "localhost")

    def describe_region(self, name, broker):
        pki = self.pki
        return {
            "peer_urls": ["https://localhost:7443"],
            "broker_urls": [f"amqps://localhost:{broker.link_port}"],
            "management": {"url": broker.url, "user": "operator", "password_file": str(self.folder / "password"),
                           "ca_file": f"{pki}/ca.pem"},
            "applications": self.applications.get(name, []),
            "link": {"ca_file": f"{pki}/ca.pem", "certificate_file": f"{pki}/{name}.pem", "key_file": f"{pki}/{name}.key"},
        }

    def describe(self):
        return {
            "trust_domain": "lab.example", "topology": "mesh", "object_types": ["token", "station"],
            "regions": {name: self.describe_region(name, broker) for name, broker in self.brokers.items()},
        }

    def write_mesh(self, changes):
        self.mesh_file.write_text(json.dumps({**self.describe(), **changes}, indent=1))

    def run(self, *arguments):
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, timeout=120,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})

    def run_ok(self, *arguments):
        done = self.run(*arguments)
        assert done.returncode == 0, f"homeward {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def mesh(self, command, *arguments):
        return self.run("mesh", command, "--mesh", str(self.mesh_file), *arguments)

    def apply(self):
        """Brings the brokers to the mesh file, and waits until every link carries events."""
        applied = self.mesh("apply", "--yes")
        assert applied.returncode == 0, applied.stdout + applied.stderr
        wait_for(lambda: self.mesh("status", "--links-only").returncode == 0, 60, "green links")

    def __getitem__(self, name):
        return self.brokers[name]

    def logs(self):
        return "\n".join(f"--- {name}\n{broker.log()}" for name, broker in self.brokers.items())

    def __exit__(self, *_):
        # Nothing of theirs is kept, so they are not asked: that takes a broker seconds.
        for broker in self.brokers.values():
            broker.stop(is_asked=False)
        if self.epmd is not None:
            self.epmd.terminate()
            self.epmd.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def unbind(broker, peer):
    """The link of `peer` goes on running, and carries nothing more."""
    bound = next(binding for binding in broker.api("GET", f"/api/exchanges/{VHOST}/homeward.events/bindings/source")
                 if binding["destination"].startswith(f"federation: homeward.events -> {peer}") and binding["routing_key"] == f"{peer}.#")
    destination = bound["destination"].replace(" ", "%20").replace(">", "%3E").replace(":", "%3A")
    broker.api("DELETE", f"/api/bindings/{VHOST}/e/homeward.events/e/{destination}/{bound['properties_key']}")


def wait_for(condition, seconds, what):
    """As eventually(), for what a broker is asked: that costs it more than a region."""
    return eventually(condition, within_s=seconds, every_s=0.2, what=what)
