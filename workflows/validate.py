"""Workflow that runs the MNIST experiment."""

from pathlib import Path

from dipy_vqvae.workflows.command import (
    UsageError,
    VQVAEWorkflow,
    check_device,
    check_existing,
    check_least,
    refuse_several,
)


class ValidateVQVAEFlow(VQVAEWorkflow):
    """Run the MNIST experiment, see :mod:`dipy_vqvae.experiment`."""

    @classmethod
    def get_short_name(cls):
        """Return the name of the workflow among combined ones."""
        return "validate_vqvae"

    def run(
        self,
        mnist_dir="",
        quick=False,
        digits=False,
        random_seed=0,
        use_cuda=False,
        out_dir="validation",
    ):
        """Run the MNIST experiment: what each part of a VQ-VAE with a prior is for.

        Trains a VQ-VAE on the MNIST digits, two PixelCNN priors on its codes, and a
        Gaussian VAE for reference. Compares, on the test images, reconstructions and
        images decoded from codes drawn with and without a prior. report.html shows
        all results. If a run was stopped, the same command continues it.

        Parameters
        ----------
        mnist_dir : string, optional
            Folder with the four MNIST files. By default they are looked for in
            DIPY's folder and downloaded if missing; if that fails, the command falls
            back to the digits of scikit-learn, with a warning.
        quick : bool, optional
            Use fewer images and fewer epochs, for a first look.
        digits : bool, optional
            Use the 1,797 digits of scikit-learn instead of MNIST; needs no network.
        random_seed : int, optional
            Seed of all random numbers.
        use_cuda : bool, optional
            Use the GPU.
        out_dir : string, optional
            Folder of the results.
        """
        if digits and mnist_dir:
            raise UsageError("--digits and --mnist_dir exclude each other")
        refuse_several("the experiment")
        check_least(0, random_seed=random_seed)
        self.plan_outputs({"out_dir": "results.json"}, out_dir=out_dir)
        check_existing(
            [("out_dir", path) for path in _to_be_written(Path(out_dir))],
            force=self._force_overwrite,
        )
        use_cuda = check_device(use_cuda)
        from dipy_vqvae.experiment import run_validation

        run_validation(
            out_dir=self.last_generated_outputs["out_dir"].parent,
            quick=quick,
            mnist_dir=mnist_dir or None,
            digits=digits,
            random_seed=random_seed,
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
