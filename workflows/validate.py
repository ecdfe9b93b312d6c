"""The workflow that repeats the MNIST experiment."""

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
        """Name of the workflow where several are combined."""
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
        """Train a VQ-VAE and priors on MNIST, and answer what each part is for.

        Fits the VQ-VAE on the training images and the PixelCNN priors on their
        codes, and compares on the test images: reconstruction, codes drawn with and
        without a prior, with and without sampling, and a Gaussian VAE. The folder
        gets results.json, tables, figures and report.html, one file that shows all.
        A run that was stopped continues when the same command is given again.

        Parameters
        ----------
        mnist_dir : string, optional
            Folder with the four MNIST files. Without it they are looked for in
            DIPY's folder and fetched if need be; where they cannot be had, the
            digits of scikit-learn take their place.
        quick : bool, optional
            A first look: less data, fewer epochs.
        digits : bool, optional
            Use the 1,797 digits of scikit-learn in place of MNIST: needs no network.
        random_seed : int, optional
            Seed of everything random.
        use_cuda : bool, optional
            Whether to use the GPU.
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
    """What the run will write, but for what a run that was stopped has written."""
    from dipy_vqvae.experiment import OUTPUT_FILES, UNFINISHED

    # The results are moved from there when all of them are whole, this one last.
    work = out_dir / UNFINISHED
    moving = (work / OUTPUT_FILES[0]).exists()
    return [
        out_dir / name for name in OUTPUT_FILES if not moving or (work / name).exists()
    ]
