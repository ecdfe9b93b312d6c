"""MONAI's VQ-VAE, trained for a given time as its tutorials train it.

L1 loss and quantisation loss, Adam at a constant rate, the codebook by moving
averages. What the tutorials leave to the user is done in MONAI's favour: images
in memory, channels last, bfloat16 where that is quicker on the machine at hand
(the quantiser always in float32), and the learning rate that does best in a short
training on images that are held out of the training set, and so for the decay.
"""

from dataclasses import dataclass, field
import time

from common import seconds
import numpy as np
import torch
import torch.nn.functional as F

# As in MONAI's tutorials: two residual layers at each resolution, embeddings of
# 32 numbers, convolutions of 4x4 with stride 2, Adam. Larger batches than 32 give
# too few steps in minutes on a CPU.
N_RES_LAYERS = 2
EMBEDDING_DIM = 32
BATCH_SIZE = 32
LEARNING_RATES = (3e-4, 1e-3, 3e-3)
# Of the codebook's moving average: MONAI's defaults of the quantiser and of the
# whole network, which the tutorials leave at that.
DECAYS = (0.99, 0.5)


def build(n_codes, channels, decay, *, random_seed=0):
    """MONAI's network for one code to 4x4 pixels."""
    from monai.networks.nets import VQVAE

    torch.manual_seed(random_seed)
    net = VQVAE(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=channels,
        num_res_channels=channels,
        num_res_layers=N_RES_LAYERS,
        downsample_parameters=((2, 4, 1, 1),) * 2,
        upsample_parameters=((2, 4, 1, 1, 0),) * 2,
        num_embeddings=n_codes,
        embedding_dim=EMBEDDING_DIM,
        decay=decay,
    )
    _keep_in_float32(net.quantizer)
    return net.to(memory_format=torch.channels_last)


def _keep_in_float32(quantizer):
    """Let no autocast on the CPU into a quantiser; MONAI stops it on GPUs only."""
    forward = quantizer.forward

    def in_float32(x):
        with torch.autocast("cpu", enabled=False):
            return forward(x.float())

    quantizer.forward = in_float32


def to_tensor(images):
    """uint8 ``(N, H, W)`` to float32 ``(N, 1, H, W)`` in [0, 1]."""
    return torch.from_numpy(images).float().div_(255)[:, None]


@dataclass
class MonaiTraining:
    """Training of one network until a time is over.

    Attributes
    ----------
    net : torch.nn.Module
    x : torch.Tensor, shape (N, 1, H, W)
        The training images.
    learning_rate : float
    mixed_precision : bool
        Whether the convolutions work in bfloat16.
    random_seed : int
    n_steps : int
        Steps done.
    """

    net: torch.nn.Module
    x: torch.Tensor
    learning_rate: float
    mixed_precision: bool
    random_seed: int = 0
    n_steps: int = 0

    def __post_init__(self):
        self.optimizer = torch.optim.Adam(self.net.parameters(), self.learning_rate)
        self.batches = self._batches(np.random.default_rng(self.random_seed))

    @property
    def n_epochs(self):
        """Passes over the images done."""
        return self.n_steps * BATCH_SIZE / len(self.x)

    def run(self, limit):
        """Train for `limit` seconds."""
        self.net.train()
        start = time.perf_counter()
        while time.perf_counter() - start < limit:
            self.step()
        self.net.eval()

    def step(self):
        """Train on one batch."""
        x = next(self.batches)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed_precision):
            reconstruction, quantisation = self.net(x)
        loss = F.l1_loss(reconstruction.float(), x) + quantisation
        loss.backward()
        self.optimizer.step()
        self.n_steps += 1

    def _batches(self, rng):
        while True:
            order = torch.from_numpy(rng.permutation(len(self.x)))
            for indices in order.split(BATCH_SIZE):
                if len(indices) == BATCH_SIZE:
                    x = self.x[indices]
                    yield x.contiguous(memory_format=torch.channels_last)


def is_bfloat16_quicker(n_codes, channels, x, *, n_steps=5):
    """Whether training steps take less time in bfloat16, measured in turns."""
    times = {True: [], False: []}
    trainings = {
        mixed: MonaiTraining(build(n_codes, channels, DECAYS[0]), x, 1e-4, mixed)
        for mixed in times
    }
    for i in range(n_steps + 1):
        for mixed, training in trainings.items():
            taken = seconds(training.step)
            if i:
                times[mixed].append(taken)
    return min(times[True]) < min(times[False])


@dataclass
class Pilots:
    """Short trainings that choose the learning rate and the codebook's decay.

    Attributes
    ----------
    n_codes : int
    channels : tuple of int
    x : torch.Tensor, shape (N, 1, H, W)
        Training images; the last tenth is held out.
    limit : float
        Seconds of each training.
    mixed_precision : bool
    errors : dict
        Rate and decay to mean absolute error on what is held out.
    """

    n_codes: int
    channels: tuple
    x: torch.Tensor
    limit: float
    mixed_precision: bool
    errors: dict = field(default_factory=dict)

    def choose(self):
        """The best rate, and with it the best decay."""
        for rate in LEARNING_RATES:
            self._try(rate, DECAYS[0])
        rate, _ = min(self.errors, key=self.errors.get)
        for decay in DECAYS[1:]:
            self._try(rate, decay)
        return min(self.errors, key=self.errors.get)

    def _try(self, rate, decay):
        n = len(self.x) * 9 // 10
        net = build(self.n_codes, self.channels, decay)
        training = MonaiTraining(net, self.x[:n], rate, self.mixed_precision)
        training.run(self.limit)
        decoded = decode(net, encode(net, self.x[n:]))
        self.errors[rate, decay] = float((decoded - self.x[n:]).abs().mean())


@torch.inference_mode()
def encode(net, x):
    """Codes ``(N, h, w)`` of images ``(N, 1, H, W)``."""
    return torch.cat([net.index_quantize(part) for part in x.split(100)])


@torch.inference_mode()
def decode(net, codes):
    """Images ``(N, 1, H, W)`` of codes, clipped to [0, 1]."""
    parts = [net.decode_samples(part) for part in codes.split(100)]
    return torch.cat(parts).clamp_(0, 1)
