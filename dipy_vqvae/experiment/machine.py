"""Software, hardware, time and memory of a run."""

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
    """Describe versions, threads and device, for JSON."""
    return {
        "dipy_vqvae": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "n_cpus": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else "CPU",
    }


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def peak_memory():
    """Measure the peak resident memory of this process in GiB; None on Windows."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kilobytes elsewhere.
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


class Stopwatch:
    """Measure the stages of a run: `stages` lists name and seconds of each."""

    def __init__(self):
        self.stages = []

    @contextmanager
    def stage(self, name):
        """Log the beginning of a stage and measure its time."""
        logger.info("%s ...", name)
        started = time.monotonic()
        yield
        self.stages.append({"name": name, "seconds": time.monotonic() - started})

    def count_earlier_runs(self, seconds):
        """Set the time of the last stage to that of all runs, if it was resumed."""
        stage = self.stages[-1]
        stage["seconds"] = max(stage["seconds"], seconds)

    @property
    def seconds(self):
        """Total time of the stages."""
        return sum(stage["seconds"] for stage in self.stages)
