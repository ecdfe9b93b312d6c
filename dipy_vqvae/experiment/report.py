"""One HTML file that shows all of the experiment and can be mailed."""

from base64 import b64encode
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
from dipy_vqvae.experiment.wording import number, percent, seconds, threads

CAPTIONS = {
    "arms.png": "All arms side by side. Arms 1, 2 and 6 start from the test images in "
    "the first row; the others generate, and show their first images, unselected. "
    "MSE: to the image above. Distinct: different outputs. Fréchet: distance to the "
    "test images.",
    "code_maps.png": "Codes beside their images, encoded and generated. Each square is "
    "a code; like colours are codes that are near each other.",
    "rate_distortion.png": "Distortion against rate on the test images. Neither says "
    "much without the other. Small points are the same models at other prices of code "
    "length; grey ones, where there are any, were measured elsewhere.",
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

STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans",
    Arial, sans-serif; color: #1b1f24; background: #fff; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 3rem 0 .6rem; padding-top: 1.1rem;
  border-top: 1px solid #d5d9de; }
h2 .n { color: #1f5f99; margin-right: .5rem; }
p { margin: .7rem 0; max-width: 46rem; }
.lead, .note, figcaption, footer { color: #5d6670; }
.verdict { font-weight: 600; font-size: 1.06rem; }
.warning { border-left: 4px solid #c2641a; padding: .2rem 0 .2rem .9rem; }
.note, figcaption, footer, li { font-size: .86rem; line-height: 1.45; }
table { border-collapse: collapse; font-size: .86rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; margin: 1rem 0 .3rem; }
th { font-weight: 600; text-align: right; vertical-align: bottom; color: #5d6670;
  border-bottom: 1px solid #8a929b; padding: .3rem .7rem; }
td { text-align: right; padding: .28rem .7rem; border-bottom: 1px solid #e4e7eb;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0;
  white-space: normal; }
.table { overflow-x: auto; }
.cards { width: 100%; table-layout: fixed; margin: 1.6rem 0 2rem; }
.cards td { text-align: left; padding: .8rem 1rem .8rem 0; vertical-align: top;
  white-space: normal; border-top: 2px solid #1f5f99; border-bottom: 0; }
.cards b { display: block; font-size: 1.5rem; line-height: 1.25; font-weight: 600; }
.cards span { color: #5d6670; font-size: .8rem; line-height: 1.35; display: block; }
figure { margin: 1.4rem 0; }
figure img { box-sizing: border-box; max-width: 100%; height: auto;
  display: block; background: #fff; border-radius: 3px; }
figcaption { margin-top: .5rem; max-width: 46rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: #1f5f99; }
pre { font-size: .8rem; line-height: 1.4; overflow-x: auto; white-space: pre-wrap; }
footer { margin-top: 3rem; border-top: 1px solid #d5d9de; padding-top: 1rem; }
@media (prefers-color-scheme: dark) {
  body { background: #14171a; color: #e3e6e9; }
  .lead, .note, figcaption, footer, th, .cards span { color: #a2abb4; }
  h2 .n, summary { color: #7db4e6; }
  h2, footer, td { border-color: #30363c; }
  figure img { padding: 6px; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; color: #000; background: #fff; }
  h2 { break-after: avoid; } figure, tr, .cards { break-inside: avoid; }
  .table { overflow: visible; } table { font-size: 7.5pt; }
}
"""


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
        _figure("arms.png", figures),
    ]
    for answer in answer_all(numbers):
        parts.append(
            f'<h2><span class="n">{answer.number}</span>{escape(answer.question)}</h2>'
        )
        parts.append(f'<p class="verdict">{escape(answer.verdict)}</p>')
        parts += [f"<p>{escape(text)}</p>" for text in answer.paragraphs]
        parts += [_figure(name, figures) for name in answer.figures]
        parts += [TABLES[name](numbers).to_html() for name in answer.tables]
    parts += [
        "<h2>All arms in figures</h2>",
        arms_table(numbers).to_html(),
        "<h2>The main figures, beside the original</h2>"
        if data["name"] == "mnist"
        else "<h2>The main figures</h2>",
        summary_table(numbers).to_html(),
        "<h2>Training</h2>",
        _figure("training.png", figures),
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
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


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
    cards = (
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
    cells = "".join(
        f"<td><b>{escape(value)}</b><span>{escape(text)}</span></td>"
        for value, text in cards
    )
    return f'<table class="cards"><tr>{cells}</tr></table>'


def _figure(name, figures):
    caption = CAPTIONS[name]
    encoded = b64encode(figures[name]).decode()
    # Bytes 16 to 20 of a PNG file are its width; two pixels for one of the page.
    width = int.from_bytes(figures[name][16:20], "big") // 2
    return (
        f'<figure><img alt="{escape(caption)}" width="{width}" '
        f'src="data:image/png;base64,{encoded}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


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
