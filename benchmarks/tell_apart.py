"""How well a small classifier tells samples from real images: 0.5 is not at all."""

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
import torch
from torch import nn
import torch.nn.functional as F

N_FOLDS = 5
N_EPOCHS = 30
BATCH_SIZE = 50


def auroc(samples, real, *, n_epochs=N_EPOCHS):
    """Return the area under the ROC curve of each fold.

    Images are (N, H, W), of both kinds from the same decoder: what differs are the
    codes. The classifier never sees the images that it is judged by.
    """
    images = np.concatenate([samples, real]).astype(np.float32)
    is_sample = np.arange(len(images)) < len(samples)
    x = torch.from_numpy((images - images.mean()) / images.std())[:, None]
    y = torch.from_numpy(is_sample.astype(np.float32))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    areas = []
    for fold, (train, test) in enumerate(folds.split(images, is_sample)):
        scores = _train(x[train], y[train], seed=fold, n_epochs=n_epochs)(x[test])
        areas.append(float(roc_auc_score(is_sample[test], scores.numpy())))
    return areas


class _Classifier(nn.Module):
    """Three convolutions with stride 2; the mean and the maximum of 64 channels."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.last = nn.Linear(128, 1)

    def forward(self, x):
        x = self.convs(x).flatten(2)
        return self.last(torch.cat([x.mean(2), x.amax(2)], dim=1)).squeeze(1)


def _train(x, y, *, seed, n_epochs):
    """Train a classifier; return a function from images to scores."""
    torch.manual_seed(seed)
    net = _Classifier()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    n_steps = n_epochs * (len(x) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, total_steps=n_steps + 1
    )
    for _ in range(n_epochs):
        order = torch.randperm(len(x))
        for batch in order[: len(x) // BATCH_SIZE * BATCH_SIZE].split(BATCH_SIZE):
            # Heads are nearly symmetric: mirror images are more training images.
            images = x[batch].flip(3) if torch.rand(()) < 0.5 else x[batch]
            loss = F.binary_cross_entropy_with_logits(net(images), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def score(images):
        return net(images)

    return score
