"""Workflow that runs the MNIST experiment."""

from dataclasses import replace

from dipy_vqvae.settings import PIXELCNN, Any, Flag, Setting
from dipy_vqvae.workflows.command import (
    OUT_DIR,
    PIXELCNN_PAPER,
    USE_CUDA,
    VQVAE_PAPER,
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
    papers = (VQVAE_PAPER, PIXELCNN_PAPER)

    @takes_options(
        Group(
            "What goes in",
            {
                "mnist_dir": Setting(
                    "",
                    Any(),
                    "Folder with the four MNIST files. By default they are looked for "
                    "in DIPY's folder and downloaded if missing; if that fails, the "
                    "command falls back to the digits of scikit-learn, with a "
                    "warning.",
                ),
                "digits": Setting(
                    False,
                    Flag(),
                    "Use the 1,797 digits of scikit-learn instead of MNIST; needs no "
                    "network.",
                ),
            },
        ),
        Group(
            "The experiment",
            {
                "quick": Setting(
                    False,
                    Flag(),
                    "Use fewer images and fewer epochs, for a first look.",
                ),
                "thorough": Setting(
                    False,
                    Flag(),
                    "Use larger models and more epochs, for better samples; takes "
                    "about an hour on two CPU cores.",
                ),
                "random_seed": replace(
                    PIXELCNN["random_seed"],
                    doc="Seed of all random numbers.",
                    help=None,
                ),
                "use_cuda": USE_CUDA,
            },
        ),
        Group("What comes out", {"out_dir": replace(OUT_DIR, default="validation")}),
    )
    def run(self, options):
        """Run the MNIST experiment: what each part of a VQ-VAE with a prior is for.

        Trains a VQ-VAE on the MNIST digits, two PixelCNN priors on its codes, and a
        Gaussian VAE for reference. Compares, on the test images, reconstructions and
        images decoded from codes drawn with and without a prior. report.html shows
        all results. If a run was stopped, the same command continues it.
        """
        if options.digits and options.mnist_dir:
            raise UsageError("--digits and --mnist_dir exclude each other")
        if options.quick and options.thorough:
            raise UsageError("--quick and --thorough exclude each other")
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
            thorough=options.thorough,
            mnist_dir=options.mnist_dir or None,
            digits=options.digits,
            random_seed=options.random_seed,
            use_cuda=use_cuda,
            verbose=self.verbose,
        )


def _to_be_written(out_dir):
    """List the files to be written, except those that a stopped run has moved."""
    from dipy_vqvae.experiment import OUTPUT_FILES, UNFINISHED

    # The complete results are moved from this folder, results.json last.
    work = out_dir / UNFINISHED
    moving = (work / OUTPUT_FILES[0]).exists()
    return [
        out_dir / name for name in OUTPUT_FILES if not moving or (work / name).exists()
    ]
