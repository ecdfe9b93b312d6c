"""A small task to train, and a command that trains it, for the training tests."""

import hashlib
import json
import logging
import os
import signal
import sys
import time

import numpy as np
import torch

from dipy_vqvae.device import generator_of, seeded
from dipy_vqvae.nn.plain_pixelcnn import Dropout
from dipy_vqvae.parallel.collectives import weight_of_mean
from dipy_vqvae.parallel.sharing import share_of
from dipy_vqvae.training import TrainingInterrupted, TrainingOptions, train

OPTIONS = {
    "weight_decay": 0.0,
    "n_epochs": 3,
    "batch_size": 10,
    "learning_rate": 0.02,
    "optimizer": "adam",
    "warmup_steps": 2,
    "random_seed": 5,
}


class ToyModule(torch.nn.Module):
    """A regression with dropout, a convolution, and statistics in buffers."""

    def __init__(self, dropout):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(2, 8, 2),
            torch.nn.ReLU(),
            Dropout(dropout),
            torch.nn.Flatten(),
            torch.nn.Linear(8, 1),
        )
        self.to(memory_format=torch.channels_last)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x):
        if self.training:
            self.started.fill_(True)
            self.seen += len(x)
            self.mean.lerp_(
                x.detach().mean() + 1e-3 * torch.randn((), generator=generator_of()),
                0.1,
            )
        return self.layers(x)[:, 0]


class ToyTask:
    """Fit a quadratic; hooks let tests do things within a step."""

    def __init__(
        self, *, n_items=43, dropout=0.2, in_step=None, data_seed=0, validation=True
    ):
        generator = np.random.default_rng(data_seed)
        x = generator.standard_normal((n_items, 2, 2, 2)).astype(np.float32)
        self.x = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
        self.y = (self.x**2).sum((1, 2, 3)) - self.x[:, 0, 0, 0]
        with seeded(3):
            self.module = ToyModule(dropout)
        self.in_step = in_step
        self.n_items = n_items
        self.calls = []
        if not validation:
            self.validate = lambda: None

    def loss(self, indices, progress, random_seed):
        self.calls.append((indices, progress))
        if self.in_step is not None:
            self.in_step(len(self.calls) - 1)
        chosen = torch.from_numpy(share_of(indices).items)
        error = self.module(self.x[chosen]) - self.y[chosen]
        weight = weight_of_mean(len(chosen), device=error.device)
        losses = {"loss": (error**2).mean(), "absolute": error.abs().mean()}
        return {**{name: weight * loss for name, loss in losses.items()}, "one": 1.0}

    def validate(self):
        error = self.module(self.x) - self.y
        return {
            "loss": (error**2).mean().item(),
            "noise": torch.rand((), generator=generator_of()).item(),
        }

    def describe(self):
        data = self.x.contiguous().numpy().tobytes()
        return {"kind": "toy", "data": {"sha256": hashlib.sha256(data).hexdigest()}}


def result(task, history):
    """Return all that two equal trainings have in common, bit by bit."""
    digest = hashlib.sha256()
    for tensor in task.module.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    history = history.to_dict()
    del history["seconds"]
    return {"weights": digest.hexdigest(), "history": history}


def run(checkpoint, options, *, in_step=None):
    """Train as a command would: exit codes, and the result as JSON on stdout."""
    task = ToyTask(in_step=in_step)
    try:
        history = train(
            task, TrainingOptions(**{**OPTIONS, **options}), checkpoint=checkpoint
        )
    except TrainingInterrupted as interruption:
        print(interruption, file=sys.stderr)
        return 128 + interruption.signum
    print(json.dumps(result(task, history)), flush=True)
    return 0


def fork(function):
    """Run a function in a child that has torch loaded already."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = function()
        finally:
            os._exit(code)
    return child


def run_with_kills(checkpoint, options, kills):
    """Kill a training after each of some numbers of steps and a delay."""
    for n_steps, seconds in kills:
        steps, steps_of_child = os.pipe()

        def in_step(step, steps_of_child=steps_of_child):
            os.write(steps_of_child, b".")
            time.sleep(0.001)

        child = fork(lambda in_step=in_step: run(checkpoint, options, in_step=in_step))
        os.close(steps_of_child)
        for _ in range(n_steps):
            os.read(steps, 1)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(steps)
        if not os.WIFSIGNALED(status):
            print("the training ended before it was killed", file=sys.stderr)
            return 1
    return run(checkpoint, options)


def run_until_told(checkpoint, options, stop_at):
    """Say so in the step `stop_at`, and go on when there is an answer."""

    def in_step(step):
        if step == stop_at:
            print("ready", flush=True)
            sys.stdin.readline()

    return run(checkpoint, options, in_step=in_step)


def run_in_parallel(folder, options, n_processes, runs):
    """Train with several processes, some times; the first one prints the result.

    In each of the `runs`, pairs of a checkpoint and of a step counted from its
    start, the last process gets a SIGTERM in that step.
    """
    for number, (checkpoint, stop_at) in enumerate(runs):
        meeting_point = f"{folder}/meeting-{number}"
        code = run_once_in_parallel(
            meeting_point, checkpoint, options, n_processes, stop_at
        )
        print(json.dumps({"code": code}), flush=True)
    return 0


def print_line(content):
    """Print JSON in one piece: lines of several processes must not mix."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def run_once_in_parallel(meeting_point, checkpoint, options, n_processes, stop_at):
    """Do one of the runs; return the highest exit code."""

    def work(rank):
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{meeting_point}",
            rank=rank,
            world_size=n_processes,
        )

        def in_step(step):
            if step == stop_at and rank == n_processes - 1:
                signal.raise_signal(signal.SIGTERM)

        task = ToyTask(dropout=0.0, in_step=in_step)
        if rank > 0:
            with torch.no_grad():
                task.module.layers[0].weight += 1.0
        code = 0
        try:
            history = train(
                task, TrainingOptions(**{**OPTIONS, **options}), checkpoint=checkpoint
            )
        except TrainingInterrupted as interruption:
            print_line({"stopped": rank, "n_steps": len(task.calls)})
            code = 128 + interruption.signum
        else:
            weights = [p.detach().flatten().tolist() for p in task.module.parameters()]
            if rank == 0:
                found = {"weights": weights, "history": history.to_dict()}
                print_line(found)
        torch.distributed.destroy_process_group()
        return code

    children = [fork(lambda rank=rank: work(rank)) for rank in range(n_processes)]
    return max(os.WEXITSTATUS(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    torch.set_num_threads(1)
    # The first optimiser imports much of torch: once, not in every child.
    torch.optim.Adam(ToyModule(0.0).parameters())
    logging.basicConfig(level=logging.WARNING)
    commands = {
        "kill": run_with_kills,
        "parallel": run_in_parallel,
        "until told": run_until_told,
    }
    sys.exit(commands[sys.argv[1]](*json.loads(sys.argv[2])))
