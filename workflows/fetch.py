"""The workflow that gets the MNIST files."""

import logging

from dipy_vqvae.workflows.command import VQVAEWorkflow, as_list, check_log_files, ranks

logger = logging.getLogger("dipy_vqvae")


class FetchMnistFlow(VQVAEWorkflow):
    """Get the MNIST files, see :func:`dipy_vqvae.fetch_mnist`."""

    @classmethod
    def get_short_name(cls):
        """Name of the workflow where several are combined."""
        return "fetch_mnist"

    def run(self, mirrors=None):
        """Download the MNIST digits, unless they are there.

        The four files (70,000 images and their labels, 11 MB) go into the folder
        mnist of DIPY's data folder: DIPY_HOME, or .dipy in the home folder. Their
        content is checked; files put there by hand are accepted, compressed or not.

        Parameters
        ----------
        mirrors : variable string, optional
            Addresses of folders that hold the files, tried in turn. Without any,
            two public mirrors.
        """
        from dipy_vqvae.data import fetch_mnist

        check_log_files(())
        # Nothing is ever overwritten: a file with other content is an error.
        folder = ranks.first_decides(
            lambda: fetch_mnist(mirrors=as_list(mirrors) or None, verbose=self.verbose)
        )
        logger.info("The MNIST files are complete: %s", folder)
