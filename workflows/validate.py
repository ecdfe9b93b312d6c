"""The workflow that runs the MNIST experiment."""

from dataclasses import replace

from dipy_vqvae.settings import PIXELCNN, Any, Flag, Setting
from dipy_vqvae.workflows.command import (
    OUT_DIR,
    USE_CUDA,
    Group,
    UsageError,
    VQVAEWorkflow,
    check_device,
    check_existing,
    refuse_several,
    takes_options,
)


class ValidateVQVAEFlow(VQVAEWorkflow):
    """Run the MNIST experiment, see :mod:`dipy_vqvae.experiment`."""

    short_name = "validate_vqvae"

    @takes_options(
        Group(
            "What goes in",
            {
                "mnist_dir": Setting(
                    "",
                    Any(),
                    "Folder with the four MNIST files. By default they are in DIPY's "
                    "data folder, and downloaded if necessary. If that fails, the "
                    "digits of scikit-learn are used instead, with a warning.",
                ),
                "digits": Setting(
                    False,
                    Flag(),
                    "Use the 1,797 digits of scikit-learn instead of MNIST, which "
                    "needs no network.",
                ),
            },
        ),
        Group(
            "The experiment",
            {
                "quick": Setting(False, Flag(), "Use less data and fewer epochs."),
                "random_seed": replace(
                    PIXELCNN["random_seed"], doc="Seed of all random numbers."
                ),
                "use_cuda": USE_CUDA,
            },
        ),
        Group("What comes out", {"out_dir": replace(OUT_DIR, default="validation")}),
    )
    def run(self, options):
        """Train a VQ-VAE and priors on MNIST, and measure what each part is for.

        Fits the VQ-VAE on the training images and the PixelCNN priors on their codes,
        and compares on the test images: reconstructions, codes drawn with and without
        a prior, with and without sampling, and a Gaussian VAE. Writes results.json,
        tables, figures and report.html, one file that shows all. A run that was
        stopped continues when the same command is given again.
        """
        if options.digits and options.mnist_dir:
            raise UsageError("--digits and --mnist_dir exclude each other")
        refuse_several("the experiment")
        self.plan_outputs({"out_dir": "results.json"}, out_dir=options.out_dir)
        out_dir = self.last_generated_outputs["out_dir"].parent
        check_existing(
            [("out_dir", path) for path in _to_be_written(out_dir)],
            force=self._force_overwrite,
        )
        use_cuda = check_device(options.use_cuda)
        from dipy_vqvae.experiment import run_validation

        run_validation(
            out_dir=out_dir,
            quick=options.quick,
            mnist_dir=options.mnist_dir or None,
            digits=options.digits,
            random_seed=options.random_seed,
            use_cuda=use_cuda,
            verbose=self.verbose,
        )


def _to_be_written(out_dir):
    """Return what the run will write, except what a stopped run has written."""
    from dipy_vqvae.experiment import OUTPUT_FILES, UNFINISHED

    # Results are moved from there when all of them are whole, this one last.
    work = out_dir / UNFINISHED
    moving = (work / OUTPUT_FILES[0]).exists()
    return [
        out_dir / name for name in OUTPUT_FILES if not moving or (work / name).exists()
    ]
