"""Processes that meet, or do not: a script for the tests.

``python meeting_runs.py PORT`` prints a line of JSON for each case: for each process
how it ended, and after how many seconds.
"""

from datetime import timedelta
import json
import os
import sys
import time

import torch

from dipy_vqvae import parallel

SHORT, LONG = timedelta(seconds=2), timedelta(seconds=60)


def nothing(number):
    """Do nothing."""


def second_is_slow(number):
    """Have the second process do something for longer than a meeting may take."""
    if number:
        time.sleep(SHORT.total_seconds() + 1)
    parallel.all_reduce_sum(torch.ones(1))


def first_network_is_unknown(number):
    """Let the first process look for a network that is not there."""
    if not number:
        os.environ["GLOO_SOCKET_IFNAME"] = "nonsense"


CASES = {
    "all come": {},
    "one is slow": {"work": second_is_slow},
    "one is too slow": {"work": second_is_slow, "timeout": SHORT, "time_to_meet": LONG},
    "the first does not come": {"absent": 0},
    "the second does not come": {"absent": 1},
    "one has another network": {"before": first_network_is_unknown},
}


def run(port, *, before=nothing, work=nothing, absent=None, **limits):
    """Start three processes, or two of three; return how they ended."""
    limits = {"timeout": LONG, "time_to_meet": SHORT, **limits}
    numbers = [i for i in range(3) if i != absent]
    ends = [_start(port, i, before, work, limits) for i in numbers]
    found = {}
    for number, (child, end) in zip(numbers, ends, strict=True):
        with os.fdopen(end) as stream:
            found[number] = json.loads(stream.read())
        os.waitpid(child, 0)
    return found


def _start(port, number, before, work, limits):
    end, start = os.pipe()
    child = os.fork()
    if child:
        os.close(start)
        return child, end
    os.environ.update(RANK=str(number), WORLD_SIZE="3")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    began, outcome = time.monotonic(), "done"
    try:
        before(number)
        with parallel.processes(**limits):
            work(number)
    except BaseException as error:  # noqa: BLE001 - it is what is looked at
        outcome = f"{type(error).__name__}: {error}"
        if before is first_network_is_unknown and not number:
            # The error keeps the meeting place open: the others find it.
            time.sleep(2 * SHORT.total_seconds())
    finally:
        with os.fdopen(start, "w") as stream:
            json.dump([outcome, time.monotonic() - began], stream)
        os._exit(0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, case in CASES.items():
        print(json.dumps([name, run(sys.argv[1], **case)]), flush=True)
