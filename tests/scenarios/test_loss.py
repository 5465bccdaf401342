# SPDX-License-Identifier: Apache-2.0
"""A short form of the loss matrix (make loss-matrix): losses.py says what is counted."""
import shutil

import pytest

import losses

pytestmark = pytest.mark.skipif(shutil.which("rabbitmqctl") is None, reason="no RabbitMQ on this machine")

RATE, SECONDS = 500, 3
FAULTS = losses.faults(3, 2)
SHORT = ["upstream edited and put back", "connections closed", "kill -9 of eu's broker", "kill -9 of eu's homeward",
         "kill -9 of na's PostgreSQL", "no network for 2 s"]
# What a broker lost and its source sends again may come when the others have waited long enough.
MAY_BE_LATE = "kill -9 of eu's broker"


@pytest.fixture(scope="module")
def mesh():
    with losses.start() as started:
        yield started


@pytest.mark.parametrize("fault", SHORT)
def test_nothing_is_lost_or_doubled(mesh, fault):
    counted = losses.run(mesh, f"run{SHORT.index(fault)}", FAULTS[fault], RATE, SECONDS)
    assert (counted["lost"], counted["doubled"], counted["unannounced"]) == (0, 0, 0), counted
    assert counted["out of order"] == 0 or fault == MAY_BE_LATE, counted
