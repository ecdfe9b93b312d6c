"""What a run was made with and what it cost."""

from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
import logging
import os
import platform
import sys
import time

import torch

from dipy_vqvae._version import __version__

logger = logging.getLogger("dipy_vqvae")

_PACKAGES = ("torch", "numpy", "scipy", "dipy", "scikit-learn", "matplotlib")


def describe_machine(device):
    """Versions, threads and device, as JSON can hold them.

    Parameters
    ----------
    device : torch.device
        Where the networks ran.

    Returns
    -------
    description : dict
    """
    return {
        "dipy_vqvae": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "n_cpus": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "device": _device_name(device),
    }


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device_name(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "CPU"


def peak_memory():
    """Most memory that this process has had, in GiB; None where nobody counts.

    The resident set, libraries included.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes, but for macOS.
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


class Stopwatch:
    """Seconds of each stage of a run.

    Attributes
    ----------
    stages : list of dict
        ``name`` and ``seconds`` in the order of the stages.
    """

    def __init__(self):
        self.stages = []

    @contextmanager
    def stage(self, name):
        """Time a stage, and say in the log that it began."""
        logger.info("%s ...", name)
        started = time.monotonic()
        yield
        self.stages.append({"name": name, "seconds": time.monotonic() - started})

    def count_earlier_runs(self, seconds):
        """Put the time that the last stage took in all runs, where one was resumed."""
        stage = self.stages[-1]
        stage["seconds"] = max(stage["seconds"], seconds)

    @property
    def seconds(self):
        """Seconds of all stages."""
        return sum(stage["seconds"] for stage in self.stages)
