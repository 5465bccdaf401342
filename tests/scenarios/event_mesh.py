# SPDX-License-Identifier: Apache-2.0
"""A mesh of regions, each with a private broker of its own that `homeward mesh apply` has set up."""
import json
import pathlib
import signal

from brokers import VHOST, Brokers
from mesh import Begun, Mesh, eventually
from wire import judge

SEEN = {"x-queue-type": "classic", "x-max-length": 1000}  # the oldest go


class EventMesh(Begun):
    """`with EventMesh("na", "eu") as mesh:` mesh["na"] is the region, mesh.brokers["na"] its broker.

    Each broker has a queue "application" of everything that its region passes on.  The last of that, and of what homeward
    itself said, is held against the schemas at the end.  settings: more of section events;
    policy: changes a region's policy before it is read.  applications: by region, local ones of its broker.
    """

    def __init__(self, *names, settings=None, policy=None, options=(), applications=None):
        self.names, self.settings, self.policy, self.applications = names, settings or {}, policy, applications
        self.seen = {name: set() for name in names}
        self.mesh = Mesh(*names, options=options)

    def __enter__(self):
        self.mesh.__enter__()
        try:
            self.brokers = Brokers(*self.names, pki=pathlib.Path(self.mesh.folder) / "pki", applications=self.applications)
            self.brokers.__enter__()
        except BaseException:
            self.mesh.__exit__()
            raise
        return super().__enter__()

    def begin(self):
        self.brokers.apply()
        for name in self.names:
            self.brokers[name].add_queue("application", "homeward.delivered", "#")
            self.brokers[name].add_queue("seen", "homeward.delivered", "#", **SEEN)
            self.brokers[name].bind("homeward.system", "seen", "#")
            self.configure(name)

    def configure(self, name):
        region = self.mesh[name]
        settings = region.settings()
        settings["events"] = {"broker": f"amqps://localhost:{self.brokers[name].tls_port}/{VHOST}",
                              "mesh": str(self.brokers.mesh_file), "heartbeat_s": 5, **self.settings}
        region.write_settings(settings)
        if self.policy is not None:
            path = region.folder / settings["policy"]["file"]
            rules = json.loads(path.read_text())
            self.policy(rules)
            path.write_text(json.dumps(rules))
        restart(region)

    def __getitem__(self, name):
        return self.mesh[name]

    def judge_seen(self, name):
        """Holds what was seen at a region's broker since the last time against the schemas; the types of all so far."""
        for _, payload in self.brokers[name].take("seen"):
            self.seen[name].add(judge(payload))
        return self.seen[name]

    def logs(self):
        return self.brokers.logs() + self.mesh.logs()

    def __exit__(self, *exception):
        try:
            for name in self.names if exception == (None, None, None) else ():
                if self.brokers[name].is_up():
                    self.judge_seen(name)
        finally:
            self.brokers.__exit__()
            self.mesh.__exit__()


def kill_broker(broker):
    broker.kill()
    broker.start()
    eventually(broker.is_ready, within_s=90, every_s=0.5, what=f"the broker of {broker.region} again")


def restart(region, number=signal.SIGKILL):
    region.kill(number)
    region.start()
    eventually(region.is_ready, within_s=30, what=f"{region.name} again")
