"""Networks from stored arrays."""

import subprocess
import sys

import numpy as np

from dipy_vqvae import PixelCNNModel

_LOAD = """
import sys
from dipy_vqvae import PixelCNNFit
PixelCNNFit.load(sys.argv[1])
print("torch._dynamo" in sys.modules)
"""


def test_loading_does_not_wait_for_the_compiler_of_torch(tmp_path):
    model = PixelCNNModel(6, n_channels=4, n_layers=1)
    model.fit(np.zeros((20, 4, 4), int), n_epochs=1).save(tmp_path / "prior")
    out = subprocess.check_output([sys.executable, "-c", _LOAD, tmp_path / "prior"])
    assert out.split() == [b"False"]
