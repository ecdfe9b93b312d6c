"""The commands: one function for each, around DIPY's ``run_flow``."""

from functools import partial
from importlib import import_module
import os
import signal
import sys
import threading

from dipy_vqvae.workflows.command import errors, ranks
from dipy_vqvae.workflows.command.console import (
    Console,
    divert_warnings,
    guard_streams,
)


def run_command(name, module, workflow):
    """Run a workflow as a command, and exit with one of the codes of `errors`."""
    # One line of ours reports lost processes, not torch's C++ stack.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    # Nothing is shown on screen; a notebook's backend may not be installed here.
    os.environ["MPLBACKEND"] = "agg"
    guard_streams()
    console = Console(name, is_first=ranks.process_number() == 0)
    job = ranks.SingleProcess()
    try:
        with ranks.joined() as job:
            code = _run_and_report(name, module, workflow, console, job)
    # The processes did not meet, or one of them ended before the others.
    except BaseException as error:  # noqa: BLE001 - a command shows no tracebacks
        console.configure()
        code = _report(error, console, job)
    lost = console.close()
    if lost and code == errors.DONE:
        console.error(f"{errors.one_line(lost)}: messages were lost, the work is done")
        code = errors.FAILED
    _ignore_signals()
    sys.exit(code)


fetch_mnist = partial(run_command, "dipy_fetch_mnist", "fetch", "FetchMnistFlow")
fit_vqvae = partial(run_command, "dipy_fit_vqvae", "fit_vqvae", "FitVQVAEFlow")
fit_pixelcnn = partial(
    run_command, "dipy_fit_pixelcnn", "fit_pixelcnn", "FitPixelCNNFlow"
)
encode_vqvae = partial(run_command, "dipy_encode_vqvae", "encode", "EncodeVQVAEFlow")
decode_vqvae = partial(run_command, "dipy_decode_vqvae", "decode", "DecodeVQVAEFlow")
compress_vqvae = partial(
    run_command, "dipy_compress_vqvae", "compress", "CompressVQVAEFlow"
)
decompress_vqvae = partial(
    run_command, "dipy_decompress_vqvae", "decompress", "DecompressVQVAEFlow"
)
reconstruct_vqvae = partial(
    run_command, "dipy_reconstruct_vqvae", "reconstruct", "ReconstructVQVAEFlow"
)
sample_vqvae = partial(run_command, "dipy_sample_vqvae", "sample", "SampleVQVAEFlow")
describe_vqvae = partial(
    run_command, "dipy_describe_vqvae", "describe", "DescribeVQVAEFlow"
)
fit_anomaly = partial(run_command, "dipy_fit_anomaly", "fit_anomaly", "FitAnomalyFlow")
detect_anomaly = partial(
    run_command, "dipy_detect_anomaly", "detect_anomaly", "DetectAnomalyFlow"
)
validate_vqvae = partial(
    run_command, "dipy_validate_vqvae", "validate", "ValidateVQVAEFlow"
)


def _run_and_report(name, module, workflow, console, job):
    """Run a workflow and return the exit code, after reporting what went wrong."""
    try:
        _run(name, module, workflow, console)
    except SystemExit as end:  # argparse: --help, --version, wrong usage
        code = end.code if isinstance(end.code, int) else errors.DONE
        job.has_failed = code != errors.DONE
        return code
    except BaseException as error:  # noqa: BLE001 - a command shows no tracebacks
        return _report(error, console, job)
    return errors.DONE


def _run(name, module, workflow, console):
    console.configure()
    divert_warnings()
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    if not sys.stderr.isatty():
        # In a log file a progress bar need not move ten times a second.
        os.environ.setdefault("TQDM_MININTERVAL", "10")
    from dipy.workflows.flow_runner import run_flow

    from dipy_vqvae.workflows.command import in_place_of_dipys, options_for

    # Again: imports set up filters and handlers of their own.
    console.configure()
    divert_warnings()
    flow = getattr(import_module(f"dipy_vqvae.workflows.{module}"), workflow)()
    with in_place_of_dipys(name, console.configure):
        run_flow(flow, extra_args=options_for(flow))


def _report(error, console, job):
    """Report what ended the command, unless another process does; return the code."""
    # Where one of several processes has ended, the others are sent a signal.
    _ignore_signals()
    if job.is_first_to_fail():
        if isinstance(error, (KeyboardInterrupt, errors.Terminated)):
            # A training says what it has saved.
            console.error(errors.one_line(error) or "interrupted")
        else:
            console.error(errors.explain(error))
            console.traceback(error)
    return errors.exit_code(error)


def _ignore_signals():
    """Let no signal interrupt the end of a command: it would show as a traceback."""
    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)


def _terminate(signum, frame):
    # A second SIGTERM ends the process at once.
    signal.signal(signum, signal.SIG_DFL)
    raise errors.Terminated
