"""Runs commands, each in a process of its own that has torch loaded already.

Reads lines of JSON, ``[name, [argument, ...], folder, {variable: value}]``, and answers
each with ``[exit code, standard output, standard error]``. Where there are variables of
the environment, small files and settings take the place of MNIST and its experiment.
"""

import json
import os
import sys
from tempfile import TemporaryFile

from small_mnist import take_the_place_of_mnist
import torch  # noqa: F401

from dipy_vqvae import PixelCNNModel, VQVAEModel  # noqa: F401
from dipy_vqvae.workflows import cli


def run(name, arguments, folder, environment):
    """Run one command in a child; return exit code, stdout and stderr."""
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.chdir(folder)
            if environment:
                os.environ.update(environment)
                take_the_place_of_mnist()
            sys.argv = [name, *arguments]
            code = 99  # of an exception that got out
            try:
                getattr(cli, name.removeprefix("dipy_"))()
            except SystemExit as end:
                code = end.code or 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read())
    return [os.waitstatus_to_exitcode(status), *texts]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)
