"""What refinement of the codes gives, and what it costs.

Encodes test images of MNIST with the models of a `dipy_validate_vqvae` run, with several
numbers of rounds (`n_refinements`): error of the decoded images, code length under the
gated prior, share of the codes that differ from those without refinement, and time. The
prior has learnt codes with as many rounds as the run's settings say.

    python benchmarks/refinement.py --models validation --mnist FOLDER
"""

from pathlib import Path

from common import begin, make_parser, print_table, seconds
import numpy as np

from dipy_vqvae import PixelCNNFit, VQVAEFit, load_mnist

ROUNDS = (0, 1, 2, 4, 8)


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--models", required=True, help="folder of the run")
    parser.add_argument("--mnist", help="folder of the MNIST files")
    parser.add_argument("--n-images", default=2_000, type=int)
    args = parser.parse_args()
    fit = VQVAEFit.load(Path(args.models) / "vqvae.safetensors")
    prior = PixelCNNFit.load(Path(args.models) / "pixelcnn_gated.safetensors")
    images = load_mnist(args.mnist).test_images[: 50 if args.quick else args.n_images]
    begin(
        args,
        f"{len(images):,} test images; the models' own number of rounds: "
        f"{fit.config.n_refinements}.",
    )
    print_table(
        ("rounds", "test MSE", "bits per image", "% of codes changed", "ms per image"),
        [row(fit, prior, images, n) for n in ROUNDS],
    )


def row(fit, prior, images, n_rounds):
    codes = encode(fit, images, n_rounds)
    error = (fit.decode(codes) - images.astype(np.float32)) / 255
    bits = -prior.log_prob(codes).mean() / np.log(2)
    changed = np.mean(codes != encode(fit, images, 0))
    took = seconds(lambda: encode(fit, images, n_rounds))
    return (
        n_rounds,
        f"{np.square(error).mean(dtype=float):.5f}",
        f"{bits:.1f}",
        f"{100 * changed:.1f}",
        f"{1000 * took / len(images):.2f}",
    )


def encode(fit, images, n_rounds):
    """Codes after another number of rounds than the model's own."""
    kept = fit.net.n_refinements
    fit.net.n_refinements = n_rounds
    try:
        return fit.encode(images)
    finally:
        fit.net.n_refinements = kept


if __name__ == "__main__":
    main()
