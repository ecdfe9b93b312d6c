"""Rendezvous of the processes of a job, and their end."""

from contextlib import contextmanager
from datetime import timedelta
import os
import time

import torch
from torch import distributed

from dipy_vqvae.parallel.collectives import all_reduce_sum, rank, world_size

# The machines of one job start at different times.
TIME_TO_MEET = timedelta(minutes=10)
# A killed process is noticed at once, a machine without power after this time. A
# process that has more to do than the others must not be taken for lost.
TIMEOUT = timedelta(days=2)
_AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"  # "True" or "False"
_HAS_GPU, _FIRST_FAILURE, _LEFT = "has_gpu", "first_failure", "left"
_SECONDS_TO_LEAVE = 5.0


class Job:
    """The processes that this one belongs to, and the store that they share."""

    def __init__(self, store=None):
        self._store = store
        self.has_failed = False

    def is_first_to_fail(self):
        """Record that this process has failed; return whether no other did before.

        The first one reports the error. The others fail because of it, or for the
        same reason.
        """
        self.has_failed = True
        if self._store is None:
            return True
        try:
            return self._store.add(_FIRST_FAILURE, 1) == 1
        except RuntimeError:
            # The process that kept the store has ended.
            self._store = None
            return True

    def leave(self, n_processes):
        """Announce the end of this process, and wait for `n_processes` to do so.

        The one that keeps the store waits for all: they may ask who failed first.
        """
        if self._store is None:
            return
        deadline = time.monotonic() + _SECONDS_TO_LEAVE
        try:
            n_left = self._store.add(_LEFT, 1)
            while n_left < n_processes and time.monotonic() < deadline:
                time.sleep(0.02)
                n_left = self._store.add(_LEFT, 0)
        except RuntimeError:
            pass  # the store is gone, and nobody waits


@contextmanager
def processes(*, timeout=TIMEOUT, time_to_meet=TIME_TO_MEET):
    """Join the processes that ``torchrun`` started, for a block of code.

    Nothing happens in a program that was started otherwise, or if
    `torch.distributed` is already initialised. Tensors on the CPU are exchanged by
    gloo, those on GPUs by nccl if all processes have one.

    Examples
    --------
    >>> with processes():
    ...     print(f"process {rank()} of {world_size()}")
    process 0 of 1
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        yield Job()
        return
    if not distributed.is_available():
        raise ValueError("this torch was built without torch.distributed")
    job = Job(_meet(timeout, time_to_meet))
    try:
        yield job
        if not job.has_failed:
            # The first process may keep what the others still need.
            all_reduce_sum(torch.zeros(1))
    except BaseException:
        job.has_failed = True
        raise
    finally:
        is_host = rank() == 0 and not _has_agents_store()
        n_processes = world_size()
        # One process alone cannot give up a communicator of nccl.
        if not (job.has_failed and torch.cuda.is_available()):
            distributed.destroy_process_group()
        job.leave(n_processes if is_host else 0)


def _meet(timeout, time_to_meet):
    """Initialise `torch.distributed`; return the store."""
    address, port, number, n = _read_environment()
    place = f"{address}:{port}"
    try:
        store = distributed.TCPStore(
            address,
            port,
            n,
            is_master=number == 0 and not _has_agents_store(),
            timeout=time_to_meet,
            wait_for_workers=False,  # `_wait_for_all` can say who did not come
            multi_tenant=True,
        )
    except RuntimeError as error:
        host = "the agent" if _has_agents_store() else "process 0"
        raise ConnectionError(f"could not meet {host} at {place}: {error}") from error
    all_have_gpus = _wait_for_all(store, number, n, time_to_meet)
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if all_have_gpus else "gloo",
            store=store,
            rank=number,
            world_size=n,
            timeout=time_to_meet,
        )
    except RuntimeError as error:
        raise ConnectionError(
            f"the {n} processes have met at {place}, but cannot reach each other: "
            f"{error}; GLOO_SOCKET_IFNAME names the network to use, it is "
            f"{os.environ.get('GLOO_SOCKET_IFNAME', 'not set')}"
        ) from error
    # There is no public way to set one limit for the rendezvous and one for the work.
    distributed.distributed_c10d._set_pg_timeout(timeout)
    return store


def _read_environment():
    """Return address, port, number of this process and number of processes."""
    names = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE")
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} "
            "is not set: start several processes with torchrun"
        )
    address, *numbers = (os.environ[name] for name in names)
    if not all(number.isdecimal() for number in numbers):
        values = ", ".join(f"{name}={os.environ[name]}" for name in names[1:])
        raise ValueError(f"whole numbers are needed in the environment, not {values}")
    return address, *map(int, numbers)


def _has_agents_store():
    return os.environ.get(_AGENT_STORE) == "True"


def _wait_for_all(store, number, n, time_to_meet):
    """Wait for all processes to come; return whether each of them has a GPU."""
    if number == 0:
        # It keeps the store: the others, which may ask who is absent, give up first.
        time_to_meet += timedelta(seconds=2)
    has_gpu = torch.cuda.is_available() and distributed.is_nccl_available()
    keys = [f"{_HAS_GPU}/{i}" for i in range(n)]
    try:
        store.set(keys[number], str(has_gpu))
        store.wait(keys, time_to_meet)
        return all(answer == b"True" for answer in store.multi_get(keys))
    except RuntimeError as error:
        raise ConnectionError(f"{_describe_absent(store, keys)}: {error}") from error


def _describe_absent(store, keys):
    """Say which processes did not come."""
    try:
        absent = [str(i) for i, key in enumerate(keys) if not store.check([key])]
    except RuntimeError:
        return "process 0, which the others meet, has ended"
    noun = "process" if len(absent) == 1 else "processes"
    return f"{noun} {', '.join(absent)} of {len(keys)} did not come"
