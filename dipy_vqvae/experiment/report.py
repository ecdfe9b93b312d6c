"""One HTML file that shows all of the experiment and can be mailed."""

from html import escape
import json

from dipy_vqvae.experiment.answers import answer_all
from dipy_vqvae.experiment.tables import (
    TABLES,
    arms_table,
    stages_table,
    summary_table,
    training_table,
)
from dipy_vqvae.report import cards, document, figure, number, percent, seconds, threads

CAPTIONS = {
    "arms.png": "All arms side by side. Arms 1, 2 and 6 start from the test images in "
    "the first row; the others generate, and show their first images, unselected. "
    "MSE: to the image above. Distinct: different outputs. Fréchet: distance to the "
    "test images.",
    "code_maps.png": "Codes beside their images, encoded and generated. Each square is "
    "a code; like colours are codes that are near each other.",
    "rate_distortion.png": "Distortion against rate on the test images. Neither says "
    "much without the other. Small points are the same models at several prices of code "
    "length, without refinement of the codes; grey ones, where there are any, were "
    "measured elsewhere.",
    "sampling_layer.png": "The sampling layer alone, on the test images of the first "
    "figure, from no sampling to τ that flattens the softmax; with both signs.",
    "temperatures.png": "Samples of the gated prior by temperature; each row has the "
    "same random numbers.",
    "generated.png": "Samples of the gated prior, in the order in which they were "
    "drawn, unselected.",
    "neighbours.png": "The first samples of the gated prior, and the training image "
    "nearest to each.",
    "codebook_usage.png": "What is in use: the codes of the VQ-VAE and the latents of "
    "the Gaussian VAE.",
    "training.png": "Training curves.",
}

REFERENCES = (
    (
        "A. van den Oord, O. Vinyals, K. Kavukcuoglu. Neural discrete representation "
        "learning. NeurIPS 2017."
    ),
    (
        "A. van den Oord, N. Kalchbrenner, O. Vinyals, L. Espeholt, A. Graves, "
        "K. Kavukcuoglu. Conditional image generation with PixelCNN decoders. "
        "NeurIPS 2016."
    ),
    "D. P. Kingma, M. Welling. Auto-encoding variational Bayes. ICLR 2014.",
    (
        "Y. Burda, R. Grosse, R. Salakhutdinov. Importance weighted autoencoders. "
        "ICLR 2016."
    ),
    (
        "M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter. GANs "
        "trained by a two time-scale update rule converge to a local Nash equilibrium. "
        "NeurIPS 2017."
    ),
    (
        "P. A. Chou, T. Lookabaugh, R. M. Gray. Entropy-constrained vector "
        "quantization. IEEE Trans. Acoust. Speech Signal Process. 37(1), 1989."
    ),
    "Y. LeCun, C. Cortes, C. J. C. Burges. The MNIST database of handwritten digits.",
)


def make_report(numbers, figures):
    """Write the report.

    Parameters
    ----------
    numbers : dict
        The results.
    figures : dict of bytes
        PNG files by name.

    Returns
    -------
    html : str
        A whole document without references to anything outside of it.
    """
    data = numbers["data"]
    title = "VQ-VAE and PixelCNN"
    title += " on MNIST" if data["name"] == "mnist" else " on scikit-learn's digits"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(_lead(numbers))}</p>',
        _warning(numbers),
        _cards(numbers),
        _picture("arms.png", figures),
    ]
    for answer in answer_all(numbers):
        parts.append(
            f'<h2><span class="n">{answer.number}</span>{escape(answer.question)}</h2>'
        )
        parts.append(f'<p class="verdict">{escape(answer.verdict)}</p>')
        parts += [f"<p>{escape(text)}</p>" for text in answer.paragraphs]
        parts += [_picture(name, figures) for name in answer.figures]
        parts += [TABLES[name](numbers).to_html() for name in answer.tables]
    parts += [
        "<h2>All arms in figures</h2>",
        arms_table(numbers).to_html(),
        "<h2>The main figures, beside the original</h2>"
        if data["name"] == "mnist"
        else "<h2>The main figures</h2>",
        summary_table(numbers).to_html(),
        "<h2>Training</h2>",
        _picture("training.png", figures),
        training_table(numbers).to_html(),
        "<h2>How it was run</h2>",
        f"<p>{escape(_how(numbers))}</p>",
        stages_table(numbers).to_html(),
        "<details><summary>Settings</summary><pre>"
        + escape(json.dumps(numbers["settings"], indent=1))
        + "</pre></details>",
        "<h2>Sources</h2><ul>",
        *(f"<li>{escape(text)}</li>" for text in REFERENCES),
        "</ul>",
        f"<footer>{escape(_footer(numbers))}</footer>",
    ]
    return document(title, parts)


def _lead(numbers):
    data = numbers["data"]
    return (
        "What is each part of a VQ-VAE with a PixelCNN prior for? Encoder, codebook, "
        "prior, sampling layer, decoder: each arm of the experiment leaves some of "
        f"them out. Trained on {data['n_train']:,} images and measured on "
        f"{data['n_test']:,} others."
    )


def _warning(numbers):
    if numbers["data"]["name"] == "mnist":
        return ""
    text = (
        "These are results on the 1,797 digits that scikit-learn ships, 8 × 8 pixels "
        "enlarged to 28 × 28, not on MNIST. They are not comparable with figures for "
        "MNIST; distances and confidences come from a classifier trained on MNIST."
    )
    return f'<p class="warning">{text}</p>'


def _cards(numbers):
    codes = numbers["codes"]
    gated = next(arm for arm in numbers["arms"] if arm["key"] == "gated")
    items = (
        (number(numbers["reconstruction"]["mse"], 5), "mean squared error, test"),
        (
            number(numbers["priors"]["gated"]["test"]["bits_per_image"], 1),
            "bits per image under the gated prior, test",
        ),
        (f"{codes['test']['n_used']} / {codes['n_codes']}", "codes in use, test"),
        (number(gated["frechet"], 1), "Fréchet distance of samples"),
        (
            percent(gated["n_distinct"] / gated["n_images"]),
            f"of {gated['n_images']:,} samples are distinct",
        ),
    )
    return cards(items)


def _picture(name, figures):
    return figure(figures[name], CAPTIONS[name])


def _how(numbers):
    machine = numbers["machine"]
    packages = ", ".join(
        f"{name} {found}" for name, found in machine["packages"].items() if found
    )
    memory = numbers["peak_memory_gib"]
    peak = "" if memory is None else f" Peak memory was {number(memory, 2)} GiB."
    return (
        f"The {numbers['settings']['name']} settings, seed "
        f"{numbers['random_seed']}, on {machine['device']} with "
        f"{threads(machine['n_threads'])} "
        f"({machine['system']}), in {seconds(numbers['seconds'])}.{peak} "
        f"dipy_vqvae {machine['dipy_vqvae']}, Python {machine['python']}, {packages}."
    )


def _footer(numbers):
    return (
        f"Made by dipy_vqvae {numbers['machine']['dipy_vqvae']} on {numbers['date']}. "
        "All numbers are in results.json."
    )
