"""The workflow that downloads MNIST."""

import logging

from dipy_vqvae.workflows.command import VQVAEWorkflow, as_list, first_decides

logger = logging.getLogger("dipy_vqvae")


class FetchMnistFlow(VQVAEWorkflow):
    """Download MNIST, see :func:`dipy_vqvae.fetch_mnist`."""

    short_name = "fetch_mnist"

    def run(self, mirrors=None):
        """Download the MNIST digits, unless they are there.

        The four files (70,000 images and their labels, 11 MB) go into the folder
        mnist of DIPY's data folder, which is DIPY_HOME or .dipy in the home folder.
        Their content is checked. Files put there by hand are accepted, compressed or
        not.

        Parameters
        ----------
        mirrors : variable string, optional
            Addresses of folders that hold the files, tried in turn. The default is
            two public mirrors.
        """
        from dipy_vqvae.data import fetch_mnist

        # Nothing is ever overwritten: a file with other content is an error.
        folder = first_decides(
            lambda: fetch_mnist(mirrors=as_list(mirrors) or None, verbose=self.verbose)
        )
        logger.info("The MNIST files are complete: %s", folder)
