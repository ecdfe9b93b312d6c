"""Identities of models: files name the models that they are for."""

import hashlib
import json

import numpy as np

#: Bytes of an identity.
IDENTITY_BYTES = 6


def identity(settings, state):
    """Hash settings and arrays.

    Parameters
    ----------
    settings : dict
        What JSON can hold.
    state : dict of torch.Tensor
        Arrays by name; neither their order nor their device matters.

    Returns
    -------
    digest : bytes
        `IDENTITY_BYTES` of them.
    """
    text = json.dumps(settings, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(state.items()):
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.data)
    return digest.digest()[:IDENTITY_BYTES]
