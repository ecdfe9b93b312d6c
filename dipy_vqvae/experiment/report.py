"""One self-contained HTML file that shows the whole experiment."""

from dataclasses import dataclass
from functools import partial
from html import escape
import json

from dipy_vqvae.experiment.tables import (
    arm_of,
    arms_table,
    canvas_table,
    latents_table,
    memorisation_table,
    n_distinct_of,
    priors_table,
    rate_distortion_table,
    reconstruction_table,
    sampling_layer_table,
    stages_table,
    summary_table,
    temperatures_table,
    training_table,
)
from dipy_vqvae.report import cards, document, figure, number, seconds, threads


@dataclass(frozen=True)
class Question:
    """A question of the experiment, with the figures and tables that answer it."""

    number: int
    text: str
    caption: str  # how to read them; true whatever the results are
    figures: tuple  # file names
    tables: tuple  # functions of the numbers


QUESTIONS = (
    Question(
        1,
        "Encoder, codebook, decoder: how well are images reconstructed?",
        "Each test image is decoded from its grid of codes alone; distortion (MSE, PSNR, "
        "SSIM) and rate (bits per image) belong together, as one can be traded for the "
        "other.",
        ("code_maps.png", "rate_distortion.png"),
        (reconstruction_table, rate_distortion_table),
    ),
    Question(
        2,
        "The sampling layer alone, without a prior: is it deterministic?",
        "Each code is drawn from a softmax over the squared distances d² of the encoder "
        "output to the codebook vectors; the layer is deterministic at a temperature τ "
        "where two draws agree in all codes.",
        ("sampling_layer.png",),
        (sampling_layer_table,),
    ),
    Question(
        3,
        "Is a prior needed to generate images?",
        "Images decoded from independent codes, uniform or with the frequencies of the "
        "training codes, compared with samples of the gated prior: the more of the "
        "dependence between codes a prior captures, the lower the Fréchet distance of its "
        "samples and the fewer bits an image takes.",
        (),
        (
            partial(
                arms_table, keys=("uniform", "marginal", "position_marginal", "gated")
            ),
            priors_table,
        ),
    ),
    Question(
        4,
        "PixelCNN without the sampling layer: do all outputs collapse to one?",
        "At temperature 0 every position takes its most probable code, so nothing is "
        "random; the number of distinct images shows the collapse.",
        ("temperatures.png",),
        (
            partial(arms_table, keys=("argmax_plain", "argmax_gated")),
            temperatures_table,
        ),
    ),
    Question(
        5,
        "PixelCNN with the sampling layer: how good are the samples, and does the initial "
        "canvas matter?",
        "Samples compared with real images, with samples from other initial canvases "
        "(100% equal codes: no influence) and with the training images (distances near 0: "
        "memorised).",
        ("generated.png", "neighbours.png"),
        (
            partial(arms_table, keys=("test", "train", "plain", "gated")),
            canvas_table,
            memorisation_table,
        ),
    ),
    Question(
        6,
        "Does the VQ-VAE avoid posterior collapse?",
        "A latent of the Gaussian VAE is active if the variance of its posterior mean over "
        "the test images is above 0.01, otherwise it has collapsed; a code of the VQ-VAE "
        "is used if it occurs in a test image.",
        ("codebook_usage.png",),
        (
            latents_table,
            partial(arms_table, keys=("gated", "vae_reconstruction", "vae_samples")),
        ),
    ),
)

CAPTIONS = {
    "arms.png": "All arms. Arms 1, 2 and the reconstruction of arm 6 start from the test "
    "images in the first row, the others show their first generated images. MSE: to the "
    "test image. Distinct: number of different images. Fréchet: distance to the test "
    "images.",
    "code_maps.png": "Code maps and images, encoded and generated. Each square is one "
    "code; similar colours stand for codebook vectors near each other.",
    "rate_distortion.png": "Rate and distortion on the test images. Small points: the "
    "same models at other rate weights, without refinement. Grey points, if any: reported "
    "values.",
    "sampling_layer.png": "The sampling layer alone on the test images, by temperature τ "
    "and sign of the logits.",
    "temperatures.png": "Samples of the gated prior by temperature, with the same random "
    "numbers in each row.",
    "generated.png": "Samples of the gated prior in the order of sampling, not selected.",
    "neighbours.png": "First samples of the gated prior, and the training image nearest "
    "to each.",
    "codebook_usage.png": "Code frequencies of the VQ-VAE, and Kullback-Leibler "
    "divergence of each latent of the Gaussian VAE.",
    "training.png": "Training curves.",
}

REFERENCES = """
A. van den Oord, O. Vinyals, K. Kavukcuoglu. Neural discrete representation learning.
NeurIPS 2017.

A. van den Oord, N. Kalchbrenner, O. Vinyals, L. Espeholt, A. Graves, K. Kavukcuoglu.
Conditional image generation with PixelCNN decoders. NeurIPS 2016.

D. P. Kingma, M. Welling. Auto-encoding variational Bayes. ICLR 2014.

Y. Burda, R. Grosse, R. Salakhutdinov. Importance weighted autoencoders. ICLR 2016.

M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter. GANs trained by a two
time-scale update rule converge to a local Nash equilibrium. NeurIPS 2017.

P. A. Chou, T. Lookabaugh, R. M. Gray. Entropy-constrained vector quantization. IEEE
Trans. Acoust. Speech Signal Process. 37(1), 1989.

Y. LeCun, C. Cortes, C. J. C. Burges. The MNIST database of handwritten digits.
"""


def make_report(numbers, figures):
    """Write the report as HTML, from the results and the PNG files by name."""
    is_mnist = numbers["data"]["name"] == "mnist"
    title = "VQ-VAE and PixelCNN on " + (
        "MNIST" if is_mnist else "scikit-learn's digits"
    )

    def picture(name):
        return figure(figures[name], CAPTIONS[name])

    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(_lead(numbers))}</p>',
        "" if is_mnist else f'<p class="warning">{_NOT_MNIST}</p>',
        _cards(numbers),
        picture("arms.png"),
    ]
    for question in QUESTIONS:
        heading = f'<span class="n">{question.number}</span>{escape(question.text)}'
        parts += [f"<h2>{heading}</h2>", f"<p>{escape(question.caption)}</p>"]
        parts += [picture(name) for name in question.figures]
        parts += [table(numbers).to_html() for table in question.tables]
    settings = escape(json.dumps(numbers["settings"], indent=1))
    parts += [
        "<h2>All arms</h2>",
        arms_table(numbers).to_html(),
        "<h2>Main results</h2>",
        summary_table(numbers).to_html(),
        "<h2>Training</h2>",
        picture("training.png"),
        training_table(numbers).to_html(),
        "<h2>Run</h2>",
        f"<p>{escape(_run(numbers))}</p>",
        stages_table(numbers).to_html(),
        f"<details><summary>Settings</summary><pre>{settings}</pre></details>",
        "<h2>References</h2><ul>",
        *(f"<li>{escape(text)}</li>" for text in REFERENCES.strip().split("\n\n")),
        "</ul>",
        f"<footer>{numbers['date']}. All numbers are in results.json.</footer>",
    ]
    return document(title, parts)


_NOT_MNIST = (
    "These results are on the 1,797 digits of scikit-learn, 8 × 8 pixels resampled to "
    "28 × 28, not on MNIST, and cannot be compared with results on MNIST. Fréchet "
    "distance and confidence use a classifier trained on MNIST."
)


def _lead(numbers):
    data = numbers["data"]
    return (
        "What does each part of a VQ-VAE with a PixelCNN prior contribute? Each arm of the "
        "experiment leaves out some of encoder, codebook, prior, sampling layer and "
        f"decoder. Trained on {data['n_train']:,} images, evaluated on {data['n_test']:,} "
        "test images."
    )


def _cards(numbers):
    codes, gated = numbers["codes"], arm_of(numbers, "gated")
    bits = numbers["priors"]["gated"]["test"]["bits_per_image"]
    return cards(
        (
            (number(numbers["reconstruction"]["mse"], 5), "test MSE, pixels in [0, 1]"),
            (number(bits, 1), "bits per test image, gated prior"),
            (
                f"{codes['test']['n_used']} / {codes['n_codes']}",
                "codes used, test images",
            ),
            (number(gated["frechet"], 1), "Fréchet distance of samples, gated prior"),
            (n_distinct_of(gated), "samples of the gated prior are distinct"),
        )
    )


def _run(numbers):
    machine, memory = numbers["machine"], numbers["peak_memory_gib"]
    packages = ", ".join(
        f"{name} {version}" for name, version in machine["packages"].items() if version
    )
    return (
        f"Settings {numbers['settings']['name']}, seed {numbers['random_seed']}, on "
        f"{machine['device']} with {threads(machine['n_threads'])} ({machine['system']}): "
        f"{seconds(numbers['seconds'])}, peak memory {number(memory, 2)} GiB. dipy_vqvae "
        f"{machine['dipy_vqvae']}, Python {machine['python']}, {packages}."
    )
