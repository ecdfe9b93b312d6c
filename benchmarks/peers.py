"""Training beside other packages: images per second, and time to equal test MSE.

On the same images, cores and batches, 28 x 28 pixels to 7 x 7 codes of K = 128:

- this package, as its fit trains by default, and with Adam as the others;
- the same encoder and decoder around VectorQuantize of vector-quantize-pytorch;
- VQVAE of MONAI with its defaults, but for two levels instead of three, 16
  dimensions and 128 codes, and as many channels as make about as many parameters.

    python benchmarks/peers.py --mnist FOLDER --plot peers.png
    python benchmarks/peers.py --seconds 60

All take turns of some seconds (see turns.py) and are trained by the same loop on the
same batches: first for a few turns, for the speed; then anew for --seconds each, with
a cosine schedule over as many steps as that is at their speed. The test MSE is
measured a dozen times with the clocks standing. "Equal" is the MSE of the worst in
the end, or --target-mse. Latents have no price on code length: no other has one.
"""

from statistics import median

from common import (
    add_data_arguments,
    begin,
    load_data,
    make_parser,
    peak_flops,
    print_table,
)
import numpy as np
import torch
from torch import nn
from turns import Contender, race, timed_train

from dipy_vqvae import VQVAEModel
from dipy_vqvae.device import autocast, has_fast_bfloat16, seeded
from dipy_vqvae.experiment import ExperimentSettings, n_parameters
from dipy_vqvae.nn import subpixel_decoder, subpixel_encoder
from dipy_vqvae.settings import per_axis
from dipy_vqvae.training import TrainingOptions

N_CODES, CODE_DIM, FACTORS = 128, 16, (4, 4)
BATCH_SIZE = 128
N_MEASUREMENTS = 12
TEST_BATCH = 500


def main():
    args = parse_arguments()
    device = begin(
        args,
        f"{'Digits of scikit-learn' if args.digits else 'MNIST'}, batches of "
        f"{BATCH_SIZE}, in turns of {args.turn:g} s; {args.seconds:g} s of training "
        "each; images per second are medians over the turns.",
        packages=("monai", "vector-quantize-pytorch"),
    )
    data = load_data(args)
    peers = Peers(args, data, device)
    speeds = peers.speeds()
    contenders = peers.train(speeds)
    print_results(args, contenders, speeds, device)
    if args.plot:
        plot(args.plot, contenders)


def parse_arguments():
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument(
        "--seconds", default=90.0, type=float, help="training of each contender"
    )
    parser.add_argument("--turn", default=2.0, type=float, help="seconds of a turn")
    parser.add_argument(
        "--speed-turns", default=6, type=int, help="turns that the speed is of"
    )
    parser.add_argument(
        "--rate", default=2e-3, type=float, help="peak learning rate of Adam"
    )
    parser.add_argument(
        "--monai-rate", type=float, help="another one for MONAI's network"
    )
    parser.add_argument("--target-mse", type=float)
    parser.add_argument("--plot", help="file for a picture of the curves")
    args = parser.parse_args()
    if args.quick:
        args.seconds, args.turn, args.speed_turns = 3.0, 0.5, 3
    return args


class PeerTask:
    """Trains a module that returns reconstructions and a loss, on bytes."""

    def __init__(self, module, images, test, *, mixed_precision, device):
        self.module = module.to(device, memory_format=torch.channels_last)
        self.images = torch.from_numpy(images)[:, None]
        self.test = torch.from_numpy(test)[:, None]
        self.variance = float((images / np.float32(255)).var(dtype=np.float64))
        self.mixed_precision = mixed_precision
        self.device = device
        self.n_items = len(images)

    def _batch(self, images):
        # Bytes are moved and become numbers there, as by this package's own task.
        x = images.to(self.device).float().div_(255)
        return x.contiguous(memory_format=torch.channels_last)

    def loss(self, indices, progress, random_seed):
        x = self._batch(self.images[torch.from_numpy(indices)])
        with autocast(x.device, self.mixed_precision):
            reconstruction, quantiser_loss = self.module(x)
        mse = (reconstruction.float() - x).square().mean()
        return {"loss": mse / self.variance + quantiser_loss, "mse": mse.detach()}

    def validate(self):
        total = 0.0
        for images in self.test.split(TEST_BATCH):
            x = self._batch(images)
            total += float((self.module(x)[0] - x).square().sum())
        return {"mse": total / self.test.numel()}


class WithVectorQuantize(nn.Module):
    """Our encoder and decoder around the quantiser of vector-quantize-pytorch."""

    def __init__(self, n_channels, n_blocks, n_hidden):
        from vector_quantize_pytorch import VectorQuantize

        super().__init__()
        build = {"factors": FACTORS, "n_channels": n_channels, "n_hidden": n_hidden}
        self.encoder = subpixel_encoder(1, CODE_DIM, n_blocks=n_blocks[0], **build)
        self.decoder = subpixel_decoder(CODE_DIM, 1, n_blocks=n_blocks[1], **build)
        self.quantiser = VectorQuantize(
            dim=CODE_DIM, codebook_size=N_CODES, accept_image_fmap=True
        )

    def forward(self, x):
        quantised, _, loss = self.quantiser(self.encoder(x).float())
        return self.decoder(quantised), loss.sum()


def monai_vqvae(n_channels):
    from monai.networks.nets import VQVAE

    n_levels = 2
    return VQVAE(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=(n_channels,) * n_levels,
        num_res_channels=(n_channels,) * n_levels,
        downsample_parameters=((2, 4, 1, 1),) * n_levels,
        upsample_parameters=((2, 4, 1, 1, 0),) * n_levels,
        num_embeddings=N_CODES,
        embedding_dim=CODE_DIM,
    )


def monai_of_size(n_wanted):
    """MONAI's network with the number of parameters that is nearest to `n_wanted`."""

    def distance(n_channels):
        with torch.device("meta"):
            return abs(n_parameters(monai_vqvae(n_channels)) - n_wanted)

    return monai_vqvae(min(range(8, 129, 4), key=distance))


class Peers:
    """The contenders, made anew for each race."""

    def __init__(self, args, data, device):
        default = ExperimentSettings.default().vqvae
        self.args = args
        self.data = data
        self.device = device
        self.mixed_precision = has_fast_bfloat16(device)
        self.networks = {
            "n_channels": default["n_channels"],
            "n_blocks": per_axis("n_blocks", default["n_blocks"], 2, at_least=0),
            "n_hidden": default.get("n_hidden"),
        }

    def speeds(self):
        """Images per second of each."""
        n_turns = self.args.speed_turns
        contenders = self._contenders(
            n_epochs=lambda name: 1000,
            stop_when=lambda contender: len(contender.speeds) >= n_turns,
        )
        race(contenders, turn_seconds=self.args.turn)
        return {contender.name: contender.speeds for contender in contenders}

    def train(self, speeds):
        """Contenders after a training of the same time each."""
        seconds, n_items = self.args.seconds, len(self.data.train_images)
        contenders = self._contenders(
            n_epochs=lambda name: seconds * median(speeds[name]) / n_items,
            every=seconds / N_MEASUREMENTS,
        )
        race(contenders, turn_seconds=self.args.turn)
        return contenders

    def _contenders(self, *, n_epochs, **others):
        works = {
            "dipy_vqvae": self._ours(),
            "dipy_vqvae with Adam": self._ours(
                optimizer="adam", learning_rate=self.args.rate
            ),
            "vector-quantize-pytorch in our networks": self._theirs(
                lambda: WithVectorQuantize(**self.networks), self.args.rate
            ),
            "MONAI": self._theirs(
                lambda: monai_of_size(self._n_wanted()),
                self.args.monai_rate or self.args.rate,
            ),
        }
        return [
            Contender(
                name,
                lambda work=work, name=name: work(n_epochs(name)),
                metric=lambda values: values["mse"],
                **others,
            )
            for name, work in works.items()
        ]

    def _ours(self, **training):
        model = VQVAEModel(
            n_codes=N_CODES,
            code_dim=CODE_DIM,
            mixed_precision=self.mixed_precision,
            random_seed=self.args.seed,
            use_cuda=self.args.cuda,
            **self.networks,
        )
        return lambda n_epochs: model.fit(
            self.data.train_images,
            validation_images=self.data.test_images,
            n_epochs=n_epochs,
            batch_size=BATCH_SIZE,
            **training,
        )

    def _theirs(self, build, learning_rate):
        def work(n_epochs):
            with seeded(self.args.seed):
                module = build()
            task = PeerTask(
                module,
                self.data.train_images,
                self.data.test_images,
                mixed_precision=self.mixed_precision,
                device=self.device,
            )
            options = TrainingOptions(
                n_epochs=n_epochs,
                batch_size=BATCH_SIZE,
                learning_rate=learning_rate,
                optimizer="adam",
                random_seed=self.args.seed,
            )
            return timed_train(task, options)

        return work

    def _n_wanted(self):
        """Parameters of our encoder and decoder with their codebook."""
        return n_parameters(WithVectorQuantize(**self.networks)) + N_CODES * CODE_DIM


def print_results(args, contenders, speeds, device):
    worst = max(contender.points[-1].value for contender in contenders)
    target = args.target_mse or worst
    for contender in contenders:
        contender.target = target
    columns = [
        "",
        "parameters",
        "images/s",
        f"test MSE after {args.seconds:g} s",
        f"s to test MSE ≤ {target:.5f}",
    ]
    if args.cuda:
        peak = peak_flops(device)
        columns.append("% of the measured bfloat16 peak (3 × forward pass)")
    rows = []
    for contender in contenders:
        there = contender.reached
        speed = median(speeds[contender.name])
        row = [
            contender.name,
            f"{contender.n_parameters:,}",
            f"{speed:,.0f}",
            f"{contender.points[-1].value:.5f}",
            "not reached" if there is None else f"{there.seconds:.1f}",
        ]
        if args.cuda:
            row.append(f"{100 * speed * contender.flops_per_item / peak:.2f}")
        rows.append(row)
    print_table(columns, rows)


def plot(path, contenders):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    for contender in contenders:
        axes.plot(
            [point.seconds for point in contender.points],
            [point.value for point in contender.points],
            "o-",
            markersize=3,
            label=contender.name,
        )
    axes.set(yscale="log", xlabel="seconds of training", ylabel="test MSE")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
