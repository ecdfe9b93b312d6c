"""The commands: one function for each, around DIPY's ``run_flow``.

Exit codes: 0 done, 1 failed on the data or files, 2 wrong usage, 130 interrupted by
Ctrl-C, 143 by SIGTERM.
"""

from importlib import import_module
import os
import signal
import sys
import threading

from dipy_vqvae.workflows.command import console, errors, ranks


def fetch_mnist():
    """Run ``dipy_fetch_mnist``."""
    _command("dipy_fetch_mnist", "fetch", "FetchMnistFlow")


def fit_vqvae():
    """Run ``dipy_fit_vqvae``."""
    _command("dipy_fit_vqvae", "fit_vqvae", "FitVQVAEFlow")


def fit_pixelcnn():
    """Run ``dipy_fit_pixelcnn``."""
    _command("dipy_fit_pixelcnn", "fit_pixelcnn", "FitPixelCNNFlow")


def encode_vqvae():
    """Run ``dipy_encode_vqvae``."""
    _command("dipy_encode_vqvae", "encode", "EncodeVQVAEFlow")


def decode_vqvae():
    """Run ``dipy_decode_vqvae``."""
    _command("dipy_decode_vqvae", "decode", "DecodeVQVAEFlow")


def reconstruct_vqvae():
    """Run ``dipy_reconstruct_vqvae``."""
    _command("dipy_reconstruct_vqvae", "reconstruct", "ReconstructVQVAEFlow")


def sample_vqvae():
    """Run ``dipy_sample_vqvae``."""
    _command("dipy_sample_vqvae", "sample", "SampleVQVAEFlow")


def validate_vqvae():
    """Run ``dipy_validate_vqvae``."""
    _command("dipy_validate_vqvae", "validate", "ValidateVQVAEFlow")


def _command(name, module, flow):
    # What torch's C++ has to say of lost processes is said in one line of ours.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    console.guard_streams()
    messages = console.Console(name, process=ranks.process_number())
    job = ranks.Alone()
    try:
        with ranks.joined() as job:
            code = _guarded(name, module, flow, messages, job)
    # They did not meet, or one of them ended before all were done.
    except BaseException as error:  # noqa: BLE001 - a command has no tracebacks
        messages.configure()
        code = _report(error, messages, job)
    lost = messages.close()
    if lost and code == errors.DONE:
        # The work is done all the same; but nobody could read all that was said.
        messages.error(f"{errors.one_line(lost)}: messages were lost, the work is done")
        code = errors.FAILED
    _ignore_signals()
    sys.exit(code)


def _guarded(name, module, flow, messages, job):
    try:
        _run(name, module, flow, messages)
    except SystemExit as end:  # argparse: --help, --version, wrong usage
        code = end.code if isinstance(end.code, int) else errors.DONE
        job.has_failed = code != errors.DONE
        return code
    except BaseException as error:  # noqa: BLE001 - a command has no tracebacks
        return _report(error, messages, job)
    return errors.DONE


def _report(error, messages, job):
    """Say what ended the command, unless another of its processes says it."""
    # Where one of several processes has ended, the others are sent a signal.
    _ignore_signals()
    if job.is_first_to_fail():
        if isinstance(error, (KeyboardInterrupt, errors.Terminated)):
            # A training says what it has saved.
            messages.error(errors.one_line(error) or "interrupted")
        else:
            messages.error(errors.explain(error))
            messages.traceback(error)
    return errors.exit_code(error)


def _run(name, module, flow, messages):
    messages.configure()
    console.divert_warnings()
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    if not sys.stderr.isatty():
        # A progress bar in a log file need not move ten times a second.
        os.environ.setdefault("TQDM_MININTERVAL", "10")
    from dipy.workflows.flow_runner import run_flow

    from dipy_vqvae.workflows.command import in_place_of_dipys, options_for

    # Again, because imports set up filters and handlers of their own.
    messages.configure()
    console.divert_warnings()
    home = import_module(f"dipy_vqvae.workflows.{module}")
    workflow = getattr(home, flow)()
    with in_place_of_dipys(name, messages.configure):
        run_flow(workflow, extra_args=options_for(workflow))


def _ignore_signals():
    """Let no signal interrupt the end: it would come out of it as a traceback."""
    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)


def _terminate(signum, frame):
    # A second one ends the process at once.
    signal.signal(signum, signal.SIG_DFL)
    raise errors.Terminated
