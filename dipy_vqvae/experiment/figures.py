"""The figures of the experiment, each as a PNG picture."""

import math

import numpy as np

from dipy_vqvae.experiment.arms import LABELS
from dipy_vqvae.experiment.charts import (
    draw_codebook_usage,
    draw_rate_distortion,
    draw_training,
)
from dipy_vqvae.experiment.layout import ImageRow, footnote_of, image_rows
from dipy_vqvae.report import Page, code_colours, number, percent, strip, styled

HEADINGS = {
    "test": "Given an image",
    "uniform": "No prior: codes that know nothing of each other",
    "argmax_plain": "PixelCNN prior without the sampling layer",
    "plain": "PixelCNN prior with the sampling layer",
    "vae_reconstruction": "Reference: a Gaussian VAE, same encoder and decoder",
}
HIDDEN = ("train",)


@styled
def draw_arms(numbers, pictures):
    """All arms side by side: the experiment's figure."""
    measured = {arm["key"]: arm for arm in numbers["arms"]}
    rows = []
    for key, label in LABELS.items():
        if key in HIDDEN:
            continue
        arm = measured[key]
        distinct = f"{arm['n_distinct']:,}\nof {arm['n_images']:,}"
        title = (
            label.title if label.number is None else f"{label.number}  {label.title}"
        )
        mse = number(arm["mse"], 4) if label.from_images else ""
        values = (mse, distinct, number(arm["frechet"], 1))
        if key == "test":
            values = ("", distinct, "")
        subtitle = label.subtitle
        if key.startswith("layer"):
            subtitle += f", τ = {numbers['sampling_layer']['shown_tau']:g}"
        rows.append(
            ImageRow(
                title,
                subtitle,
                pictures.arms[key],
                values,
                HEADINGS.get(key),
            )
        )
    return image_rows(
        rows,
        headers=("MSE", "distinct", "Fréchet"),
        footnote=footnote_of(numbers)
        + ". Generated images: the first ones, unselected.",
    )


@styled
def draw_layer(numbers, pictures):
    """The sampling layer alone, at several temperatures and with both signs."""
    draws = numbers["sampling_layer"]["draws"]
    headings = {
        "nearest": "Logits −d²/τ: near codes are likely",
        "farthest": "Logits +d²/τ, as in the original notebook: far codes are likely",
    }
    rows = []
    for row in draws:
        favour, tau = row["favour"], row["tau"]
        title = "Nearest codes" if tau == 0 else f"τ = {tau:g}"
        rows.append(
            ImageRow(
                title,
                "no sampling" if tau == 0 else "",
                pictures.layer[favour, tau],
                (
                    percent(row["equal_codes"]),
                    percent(row["identical_images"]),
                    number(row["mse"], 4),
                ),
                headings.pop(favour, None),
            )
        )
    return image_rows(
        rows,
        headers=("equal\ncodes", "identical\nimages", "MSE"),
        label_width=130,
        footnote=footnote_of(numbers)
        + ". Equal codes, identical images: of two draws.",
    )


@styled
def draw_temperatures(numbers, pictures):
    """The gated prior from argmax to sampling."""
    rows = []
    for row in numbers["temperatures"]:
        temperature = row["temperature"]
        notes = {0.0: "argmax, no sampling layer", 1.0: "as the prior learnt it"}
        rows.append(
            ImageRow(
                f"Temperature {temperature:g}",
                notes.get(temperature, ""),
                pictures.temperatures[temperature],
                (
                    f"{row['n_distinct']:,}\nof {row['n_images']:,}",
                    number(row["mean_pairwise_distance"], 2),
                    number(row["frechet"], 1),
                ),
            )
        )
    return image_rows(
        rows,
        headers=("distinct", "distance\nof pairs", "Fréchet"),
        footnote=footnote_of(numbers),
    )


@styled
def draw_neighbours(numbers, pictures):
    """Samples and the training images nearest to them."""
    return image_rows(
        [
            ImageRow("Samples", "of the gated prior", pictures.samples),
            ImageRow("Nearest", "training image of each", pictures.neighbours),
        ],
        label_width=170,
        footnote=footnote_of(numbers),
    )


@styled
def draw_generated(numbers, pictures):
    """Many generated digits, in the order in which they were drawn."""
    images = pictures.generated
    n_columns = 20
    n_rows = math.ceil(len(images) / n_columns)
    zoom, margin, gap = 1.5, 12, 1
    rows = [
        strip(images[i * n_columns : (i + 1) * n_columns], n=n_columns, gap=gap)
        for i in range(n_rows)
    ]
    space = np.ones((gap, *rows[0].shape[1:]))
    mosaic = np.concatenate([part for row in rows for part in (row, space)][:-1])
    width = mosaic.shape[1] * zoom + 2 * margin
    height = mosaic.shape[0] * zoom + 2 * margin
    page = Page(width, height)
    page.picture(margin, margin, mosaic, zoom=zoom)
    return page


@styled
def draw_code_maps(numbers, pictures):
    """Code maps beside their images."""
    colours = code_colours(pictures.codebook)
    # The code of empty paper, so that strokes stand out.
    colours[np.argmax(numbers["codes"]["test"]["histogram"])] = 0.93

    def maps(key):
        codes = pictures.codes[key]
        side = pictures.arms[key].shape[1:3]
        factors = [-(-n // m) for n, m in zip(side, codes.shape[1:])]
        large = codes.repeat(factors[0], 1).repeat(factors[1], 2)
        return colours[large[:, : side[0], : side[1]]]

    grid = "×".join(map(str, numbers["codes"]["grid_shape"]))
    rows = [
        ImageRow("Test image", "", pictures.arms["test"], heading="Encoded"),
        ImageRow("Codes", f"{grid}, from the encoder", maps("reconstruction")),
        ImageRow("Reconstruction", "", pictures.arms["reconstruction"]),
        ImageRow(
            "Codes", f"{grid}, from the prior", maps("gated"), heading="Generated"
        ),
        ImageRow("Decoded", "", pictures.arms["gated"]),
    ]
    return image_rows(
        rows,
        label_width=170,
        footnote=footnote_of(numbers) + ". Codes of like colour are near each other.",
    )


FIGURES = {
    "arms.png": draw_arms,
    "generated.png": draw_generated,
    "training.png": draw_training,
    "codebook_usage.png": draw_codebook_usage,
    "code_maps.png": draw_code_maps,
    "rate_distortion.png": draw_rate_distortion,
    "sampling_layer.png": draw_layer,
    "temperatures.png": draw_temperatures,
    "neighbours.png": draw_neighbours,
}


def draw_all(numbers, pictures):
    """Draw every figure.

    Parameters
    ----------
    numbers : dict
        The results.
    pictures : Pictures
        The images.

    Returns
    -------
    figures : dict of bytes
        PNG files by their name.
    """
    return {name: draw(numbers, pictures) for name, draw in FIGURES.items()}
