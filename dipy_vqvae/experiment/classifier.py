"""A small digit classifier, for measuring generated digits.

Its 64 features give the Fréchet distance between sets of images, its ten probabilities
the confidence and the balance of the classes. The weights are part of the package, made
by ``benchmarks/train_digit_classifier.py``.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dipy_vqvae.storage import load_model, save_model

_KIND = "digit_classifier"
_WEIGHTS = Path(__file__).with_name("digit_classifier.safetensors")
_SIDE = 28


class DigitClassifier(nn.Module):
    """Classify digits by a convolutional network with a layer of features.

    Parameters
    ----------
    n_channels : int, optional
        Channels of the first layer; the later ones have twice as many.
    n_features : int, optional
        Width of the layer before the classes.
    dropout : float, optional
        Fraction of the features dropped in training, so that a distance between
        features depends on all of them.
    """

    def __init__(self, n_channels=24, n_features=64, dropout=0.3):
        super().__init__()
        self.config = {
            "n_channels": n_channels,
            "n_features": n_features,
            "dropout": dropout,
        }
        wide = 2 * n_channels
        self.conv1 = nn.Conv2d(1, n_channels, 5, stride=2, padding=2)  # 14 x 14
        self.conv2 = nn.Conv2d(n_channels, wide, 3, stride=2, padding=1)  # 7 x 7
        self.conv3 = nn.Conv2d(wide, wide, 3, padding=1)
        self.dense = nn.Linear(wide * 16, n_features)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_features, 10)

    def features(self, images):
        """Map images (B, 1, 28, 28) in [0, 1] to features (B, n_features) >= 0."""
        # Mean and standard deviation of MNIST's pixels, approximately.
        x = (images - 0.13) / 0.31
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.relu(self.conv3(x))
        # 4 x 4 means, at the far edges of fewer pixels.
        x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        return F.relu(self.dense(x.flatten(1)))

    def forward(self, images):
        """Map images (B, 1, 28, 28) in [0, 1] to logits (B, 10)."""
        return self.head(self.dropout(self.features(images)))


def load_classifier(path=None):
    """Load a trained classifier."""
    path = _WEIGHTS if path is None else Path(path)
    stored = load_model(path, kind=_KIND)
    weights = {
        name: torch.from_numpy(np.array(values, dtype=np.float32))
        for name, values in stored.arrays.items()
    }
    try:
        # Without memory or random numbers: the weights come from the file.
        with torch.device("meta"):
            classifier = DigitClassifier(**stored.config)
        classifier.load_state_dict(weights, assign=True)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"{path}: settings or weights do not fit: {reason}") from None
    return classifier.requires_grad_(False).eval()


def save_classifier(path, classifier, *, description=None):
    """Save a classifier, with weights in half precision."""
    arrays = {
        name: values.detach().cpu().numpy().astype(np.float16)
        for name, values in classifier.state_dict().items()
    }
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"weights of {name} do not fit into half precision")
    save_model(
        path,
        kind=_KIND,
        config=classifier.config,
        arrays=arrays,
        description=description,
    )


def features(classifier, images, batch_size=1000):
    """Compute the features of images."""
    images = _checked(images)
    device = classifier.head.weight.device
    was_training = classifier.training
    classifier.eval()
    outputs = []
    with torch.inference_mode():
        # An empty batch gives the right shape if there are no images.
        for start in range(0, max(1, len(images)), batch_size):
            batch = images[start : start + batch_size].astype(np.float32)
            batch = torch.from_numpy(batch.clip(0.0, 1.0))[:, None].to(device)
            outputs.append(classifier.features(batch).cpu().numpy())
    classifier.train(was_training)
    return np.concatenate(outputs)


def probabilities(classifier, images, batch_size=1000):
    """Compute the probability of each digit."""
    return probabilities_of_features(
        classifier, features(classifier, images, batch_size)
    )


def probabilities_of_features(classifier, features):
    """Compute the probability of each digit (N, 10) from the features (N, 64)."""
    rows = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    with torch.inference_mode():
        logits = classifier.head(rows.to(classifier.head.weight.device))
        return logits.softmax(dim=1).cpu().numpy()


def _checked(images):
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.shape[1:] != (_SIDE, _SIDE):
        raise ValueError(
            f"images must have the shape (N, {_SIDE}, {_SIDE}), got {images.shape}"
        )
    if images.dtype.kind in "iu":
        # Clipped to [0, 1], bytes would give plausible but wrong images.
        raise ValueError(
            f"images must be floats in [0, 1], got {images.dtype}; divide bytes by 255"
        )
    if np.isnan(images).any():
        raise ValueError("images contain NaN")
    return images
