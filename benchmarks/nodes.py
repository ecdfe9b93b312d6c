"""The commands on two machines beside one process: what comes out, and what is lost.

Two agents (``torchrun``) with two processes each fit, reconstruct, encode and sample as
they would on two machines; gloo. With ``--namespaces`` (Linux, as root) each has a
network of its own, joined by a virtual cable; without, they meet at 127.0.0.1. A process
is killed, an agent is told to stop, and both are resumed. Prints Markdown, and ends with
exit code 1 if something differs that must not. With ``--cuda`` one agent has a process
for each GPU of this machine; nccl.

    python benchmarks/nodes.py
    python benchmarks/nodes.py --namespaces
    python benchmarks/nodes.py --cuda
"""

import argparse
from contextlib import contextmanager
from dataclasses import dataclass
import filecmp
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import sysconfig
from tempfile import TemporaryDirectory
import time

from common import package_version, print_table
import nibabel as nib
import numpy as np
from safetensors.numpy import load_file
import torch

N_IMAGES = 16
SIZE = ["--n_channels", "16", "--batch_size", "16"]
VQVAE = [*SIZE, "--n_codes", "16", "--code_dim", "4", "--n_blocks", "1"]
VQVAE += ["--rate_weight", "0.1", "--out_report", "None"]
PRIOR = [*SIZE, "--n_layers", "2", "--out_report", "None"]
# Relative: sums in another order; on GPUs in none, and rounded to TF32.
LIMIT, LIMIT_ON_GPUS = 1e-5, 1e-2


@dataclass(frozen=True)
class Machine:
    """Where an agent runs."""

    address: str
    interface: str
    prefix: tuple = ()


class Cluster:
    """Machines that run a command together.

    Parameters
    ----------
    machines : list of Machine
        The first is where they meet.
    folder : Path
        Where the command runs.
    n_processes : int
        Of each machine.
    use_cuda : bool
        Whether commands run on GPUs.

    Attributes
    ----------
    rendezvous : {"c10d", "static"}
        How the agents meet.
    """

    def __init__(self, machines, folder, *, n_processes=2, use_cuda=False):
        self.machines = machines
        self.folder = Path(folder)
        self.n_processes = n_processes
        self.use_cuda = use_cuda
        self.rendezvous = "c10d"

    @property
    def options(self):
        """What is added to each command."""
        return ["--use_cuda"] if self.use_cuda else []

    @property
    def limit(self):
        """How much results may differ from those of one process, relative."""
        return LIMIT_ON_GPUS if self.use_cuda else LIMIT

    def start(self, command):
        """Start the agents; their messages go to files beside each other."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        first = self.machines[0].address
        agents = []
        for number, machine in enumerate(self.machines):
            meeting = {
                "c10d": ["--rdzv-backend", "c10d", "--rdzv-id", "1"]
                + ["--rdzv-endpoint", f"{first}:{port}"]
                # An agent tells by the machine's name, which both may have.
                + ["--rdzv-conf", f"is_host={number == 0}"]
                + ["--local-addr", machine.address],
                "static": ["--node-rank", str(number), "--master-addr", first]
                + ["--master-port", str(port)],
            }[self.rendezvous]
            line = [*machine.prefix, sys.executable, "-m", "torch.distributed.run"]
            line += ["--nnodes", str(len(self.machines)), *meeting]
            line += ["--nproc-per-node", str(self.n_processes), "--no-python"]
            with open(self.folder / f"machine-{number}.txt", "w") as messages:
                agents.append(
                    subprocess.Popen(
                        [*line, *as_script(command), *self.options],
                        cwd=self.folder,
                        stdout=messages,
                        stderr=subprocess.STDOUT,
                        env={
                            **os.environ,
                            "OMP_NUM_THREADS": "1",
                            "GLOO_SOCKET_IFNAME": machine.interface,
                        },
                    )
                )
        return agents

    def run(self, command, *, limit=300):
        """Run a command on all machines; it must succeed."""
        codes = wait_for(self.start(command), limit)
        if any(codes):
            raise RuntimeError(f"{command[0]} ended with {codes}: {self.messages()}")

    def messages(self):
        """What was said on all machines."""
        return "\n".join(p.read_text() for p in sorted(self.folder.glob("machine-*")))

    def interrupt(self, command, checkpoint, interrupt):
        """Start a training, and do something to its agents once there is a checkpoint.

        Returns
        -------
        seconds : float
            From then until all of its processes are gone.
        """
        agents = self.start(command)
        try:
            patience = time.monotonic() + 120
            while not (self.folder / checkpoint).exists():
                if time.monotonic() > patience or any(
                    a.poll() is not None for a in agents
                ):
                    raise RuntimeError(f"no training: {self.messages()}")
                time.sleep(0.01)
            workers = [child for agent in agents for child in children(agent.pid)]
            began = time.monotonic()
            interrupt(agents)
            codes = wait_for(agents, 120)
        finally:
            end(agents)
        if not all(codes):
            raise RuntimeError(f"ended with {codes} all the same")
        while any(map(is_alive, workers)):
            if time.monotonic() > began + 120:
                raise RuntimeError("processes of the command are left")
            time.sleep(0.01)
        return time.monotonic() - began


def as_script(command):
    """A command as a script of this Python's environment."""
    return [str(Path(sysconfig.get_path("scripts")) / command[0]), *command[1:]]


def wait_for(agents, limit):
    """Exit codes of the agents."""
    try:
        patience = time.monotonic() + limit
        return [a.wait(max(0.1, patience - time.monotonic())) for a in agents]
    finally:
        end(agents)


def end(agents):
    """Leave nothing behind."""
    for agent in agents:
        if agent.poll() is None:
            for child in children(agent.pid):
                os.kill(child, signal.SIGKILL)
            agent.kill()
            agent.wait()


def children(pid):
    """Numbers of the processes that a process has started."""
    numbers = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [number for number in numbers if state_and_parent(number)[1] == str(pid)]


def is_alive(pid):
    """Whether there is such a process."""
    return state_and_parent(pid)[0] not in ("Z", "X", "")


def state_and_parent(pid):
    """Of a process, as Linux tells it; empty where there is none."""
    try:
        # pid (name) state parent ...
        content = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "", ""
    return content.rpartition(")")[2].split()[:2]


def kill_a_process(agents):
    """SIGKILL to a process of the last machine, as where memory has run out."""
    os.kill(children(agents[-1].pid)[0], signal.SIGKILL)


def stop_an_agent(agents):
    """SIGTERM to the last machine's agent, as schedulers send it."""
    agents[-1].terminate()


@contextmanager
def two_machines(*, namespaces):
    """Two machines: networks of their own, or two names for this one."""
    if not namespaces:
        yield [Machine("127.0.0.1", "lo")] * 2
        return
    names = [f"nodes{os.getpid()}-{i}" for i in range(2)]
    machines = []
    try:
        for i, name in enumerate(names):
            ip("netns", "add", name)
            prefix = ("ip", "netns", "exec", name)
            machines.append(Machine(f"10.77.0.{i + 1}", f"cable{i}", prefix))
        ends = ["netns", names[0], "type", "veth", "peer", "name", "cable1"]
        ip("link", "add", "cable0", *ends, "netns", names[1])
        for name, machine in zip(names, machines, strict=True):
            here = ("-n", name)
            ip(*here, "addr", "add", f"{machine.address}/24", "dev", machine.interface)
            ip(*here, "link", "set", machine.interface, "up")
            ip(*here, "link", "set", "lo", "up")
        yield machines
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def make_images(folder):
    """Small images with an affine, a file for each subject."""
    rng = np.random.default_rng(0)
    grid = np.indices((12, 10))
    for i in range(N_IMAGES):
        centre = rng.uniform(3, 8, (2, 1, 1))
        blob = 200 * np.exp(-((grid - centre) ** 2).sum(0) / 8)
        volume = blob[..., None] + rng.normal(0, 8, (12, 10, 6))
        image = nib.Nifti1Image(volume.astype(np.float32), np.diag([2, 2, 3, 1]))
        image.to_filename(Path(folder) / f"s{i:02}.nii.gz")


def relative_difference(first, second):
    """Relative difference of all arrays of two model files, taken together.

    Of a single one it can be ten times as large: a network begins with gradients of
    zero in some layers, and Muon makes of what rounding leaves there steps as large as
    any.
    """
    first, second = load_file(first), load_file(second)
    if set(first) != set(second):
        raise ValueError("not the same arrays")
    one, two = (
        np.concatenate([arrays[name].ravel().astype(float) for name in sorted(first)])
        for arrays in (first, second)
    )
    return np.linalg.norm(one - two) / np.linalg.norm(one)


def same_files(first, second):
    """How many files of two folders are equal, byte by byte or number by number."""
    names = sorted(path.name for path in first.iterdir())
    if names != sorted(path.name for path in second.iterdir()):
        raise ValueError("not the same files")
    for name in names:
        if not is_same_file(first / name, second / name):
            raise ValueError(f"{name} differs")
    return len(names)


def is_same_file(one, two):
    """Whether two files are equal, but for the time of writing in those of .gz."""
    if filecmp.cmp(one, two, shallow=False):
        return True
    return one.suffix == ".gz" and np.array_equal(
        nib.load(one).get_fdata(), nib.load(two).get_fdata()
    )


def compare(cluster, rendezvous):
    """Do everything in one process and on all machines: rows of a table."""
    cluster.rendezvous = rendezvous
    folder, out = cluster.folder, f"many-{rendezvous}"
    model = "vqvae.safetensors"
    rows = []
    for name, command in (
        (model, ["dipy_fit_vqvae", "s*.nii.gz", *VQVAE, "--n_epochs", "4"]),
        (
            "pixelcnn.safetensors",
            ["dipy_fit_pixelcnn", f"one/{model}", "s*.nii.gz", *PRIOR],
        ),
    ):
        alone([*command, *cluster.options], folder, "one")
        cluster.run([*command, "--out_dir", out])
        difference = relative_difference(folder / "one" / name, folder / out / name)
        rows.append((command[0], rendezvous, f"{difference:.1e} relative"))
        if difference > cluster.limit:
            raise ValueError(f"{command[0]}: {difference:.2g} apart")
    priors = [f"one/{name}" for name in (model, "pixelcnn.safetensors")]
    for what, command in (
        ("reconstruct", ["dipy_reconstruct_vqvae", priors[0], "s*.nii.gz"]),
        ("encode", ["dipy_encode_vqvae", priors[0], "s*.nii.gz"]),
        ("sample", ["dipy_sample_vqvae", *priors, "--n_samples", "9"]),
    ):
        alone([*command, *cluster.options], folder, f"{what}-one")
        cluster.run([*command, "--out_dir", f"{what}-{out}"])
        n = same_files(folder / f"{what}-one", folder / f"{what}-{out}")
        rows.append((command[0], rendezvous, f"{n} files are the same"))
    return rows


def alone(command, folder, out):
    """Run a command in one process, if that was not done before."""
    if (folder / out).exists() and "fit" not in command[0]:
        return
    line = [*as_script(command), "--out_dir", out, "--force", "--log_level", "ERROR"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(line, cwd=folder, env=environment, check=True)


def interrupt_and_resume(cluster, what, interrupt):
    """One row: a training that is interrupted, resumed, and compared."""
    folder, model = cluster.folder, "vqvae.safetensors"
    command = ["dipy_fit_vqvae", "s*.nii.gz", *VQVAE, "--n_epochs", "40"]
    command += ["--checkpoint_steps", "2", "--resume"]
    if not (folder / "whole").exists():
        cluster.run([*command, "--out_dir", "whole"])
    out = what.replace(" ", "-")
    command += ["--out_dir", out]
    seconds = cluster.interrupt(command, f"{out}/{model}.checkpoint", interrupt)
    said = cluster.messages().count("dipy_fit_vqvae: error:")
    if said != 1:
        raise ValueError(f"{said} errors said: {cluster.messages()}")
    cluster.run(command)
    difference = relative_difference(folder / "whole" / model, folder / out / model)
    if difference > (cluster.limit if cluster.use_cuda else 0):
        raise ValueError(f"resumed after {what}: {difference:.2g} apart")
    resumed = f"{difference:.1e} relative" if difference else "the same bits"
    return what, cluster.rendezvous, f"gone in {seconds:.1f} s; resumed: {resumed}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--namespaces", action="store_true", help="networks of their own"
    )
    parser.add_argument("--cuda", action="store_true", help="this machine's GPUs; nccl")
    args = parser.parse_args()
    n_processes, where = 2, "two agents of two processes, one network, gloo"
    if args.namespaces:
        where = where.replace("one network", "networks of their own")
    if args.cuda:
        n_processes = torch.cuda.device_count()
        where = f"{n_processes} processes, {n_processes} GPUs, nccl"
        if n_processes < 2:
            # Not an error: the same line of a script goes to machines of both kinds.
            print("Fewer than two GPUs here: nothing was measured.")
            return
    versions = ", ".join(f"{n} {package_version(n)}" for n in ("dipy_vqvae", "torch"))
    print(f"{versions}; {where}.\n", flush=True)
    with (
        TemporaryDirectory() as folder,
        two_machines(namespaces=args.namespaces) as machines,
    ):
        make_images(folder)
        if args.cuda:
            machines = machines[:1]
        cluster = Cluster(machines, folder, n_processes=n_processes, use_cuda=args.cuda)
        rows = [row for name in ("c10d", "static") for row in compare(cluster, name)]
        cluster.rendezvous = "c10d"
        for what, interrupt in (
            ("a process is killed", kill_a_process),
            ("an agent is told to stop", stop_an_agent),
        ):
            rows.append(interrupt_and_resume(cluster, what, interrupt))
    print_table(("", "rendezvous", "beside one process, or one that ran through"), rows)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, RuntimeError) as error:
        sys.exit(f"nodes.py: {error}")
