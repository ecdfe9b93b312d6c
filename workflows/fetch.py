"""The workflow that downloads MNIST."""

import logging

from dipy_vqvae.settings import Any, Setting
from dipy_vqvae.workflows.command import (
    Group,
    VQVAEWorkflow,
    as_list,
    first_decides,
    takes_options,
)

logger = logging.getLogger("dipy_vqvae")


class FetchMnistFlow(VQVAEWorkflow):
    """Download MNIST, see :func:`dipy_vqvae.fetch_mnist`."""

    short_name = "fetch_mnist"
    papers = ()

    @takes_options(
        Group(
            "What goes in",
            {
                "mirrors": Setting(
                    None,
                    Any("list of str", "variable string"),
                    "Addresses of folders that hold the files, tried in turn. By "
                    "default two public mirrors.",
                ),
            },
        ),
    )
    def run(self, options):
        """Download the MNIST digits, unless they are there.

        The four files (70,000 images and their labels, 11 MB) go into the folder
        mnist of DIPY's data folder, which is DIPY_HOME or .dipy in the home folder.
        Their content is checked. Files put there by hand are accepted, compressed or
        not.
        """
        from dipy_vqvae.data import fetch_mnist

        # Nothing is ever overwritten: a file with other content is an error.
        mirrors = as_list(options.mirrors) or None
        folder = first_decides(
            lambda: fetch_mnist(mirrors=mirrors, verbose=self.verbose)
        )
        logger.info("The MNIST files are complete: %s", folder)
