"""The figures of the experiment, each as a PNG picture."""

import math

import numpy as np

from dipy_vqvae.experiment.arms import LABELS
from dipy_vqvae.experiment.layout import (
    ACCENT,
    INK,
    MUTED,
    WARM,
    ImageRow,
    Page,
    image_rows,
    points,
    strip,
    styled,
)
from dipy_vqvae.experiment.wording import number, percent

HEADINGS = {
    "test": "Given an image",
    "uniform": "No prior: codes that know nothing of each other",
    "argmax_plain": "PixelCNN prior without the sampling layer",
    "plain": "PixelCNN prior with the sampling layer",
    "vae_reconstruction": "Reference: a Gaussian VAE, same encoder and decoder",
}
HIDDEN = ("train",)


def footnote_of(numbers):
    """What is written below a figure: which images, which settings."""
    data = numbers["data"]
    return (
        f"{data['title']}: {data['n_train']:,} training and {data['n_test']:,} test "
        f"images, {numbers['settings']['name']} settings, seed {numbers['random_seed']}"
    )


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


def code_colours(codebook):
    """A colour for each code, alike for codes that are near each other.

    Parameters
    ----------
    codebook : array (K, D)

    Returns
    -------
    colours : array (K, 3), in [0, 1]
        Ranks along the first three principal axes as red, green and blue: spread
        evenly, so that codes are told apart.
    """
    centred = codebook - codebook.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    scores = u[:, :3] * s[:3]
    ranks = scores.argsort(0).argsort(0) / max(1, len(codebook) - 1)
    colours = np.full((len(codebook), 3), 0.5)
    colours[:, : ranks.shape[1]] = ranks
    return 0.12 + 0.83 * colours


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


def _panel(page, x, title, *, y=46, width=250, height=190):
    axes = page.axes(x, y, width, height)
    page.text(x - 34, y - 18, title, size=13, weight="bold")
    return axes


def _end_labels(axes, curves):
    """Name curves at their last point, without overlaps."""
    low, high = axes.get_ylim()
    is_log = axes.get_yscale() == "log"

    def place(value):
        if is_log:
            value, bottom, top = (math.log(v) for v in (value, low, high))
            return (value - bottom) / (top - bottom)
        return (value - low) / (high - low)

    heights = sorted(
        (place(values[-1]), name, colour) for name, values, colour in curves
    )
    lowest = -1.0
    for height, name, colour in heights:
        height = max(height, lowest + 0.085)
        lowest = height
        axes.text(
            1.03,
            height,
            name,
            color=colour,
            transform=axes.transAxes,
            fontsize=points(11),
            va="center",
        )


def _curves(axes, epochs, curves, *, log=False):
    if log:
        axes.set_yscale("log")
    for _, values, colour in curves:
        marker = "o" if len(values) < 2 else None
        axes.plot(epochs, values, color=colour, marker=marker, markersize=4)
    axes.set_xlabel("epochs", fontsize=points(11))
    axes.set_xlim(0, max(epochs) * 1.02)
    if log:
        from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    _end_labels(axes, curves)


@styled
def draw_training(numbers, _pictures):
    """Training curves of the VQ-VAE and of the priors."""
    page = Page(1010, 312)
    training = numbers["training"]
    vqvae = training["vqvae"]["history"]
    to_unit = 1000.0
    axes = _panel(page, 62, "VQ-VAE: squared error × 1000", width=200)
    curves = [
        ("training", [to_unit * v for v in vqvae["train"]["mse_unit"]], ACCENT),
        ("test", [to_unit * v for v in vqvae["validation"]["mse_unit"]], INK),
    ]
    _curves(axes, vqvae["epochs"], curves, log=True)
    axes = _panel(page, 400, "VQ-VAE: codes on test images", width=200)
    curves = [
        ("used", vqvae["validation"]["n_used"], ACCENT),
        ("perplexity", vqvae["validation"]["perplexity"], INK),
    ]
    axes.set_ylim(0, numbers["codes"]["n_codes"] * 1.05)
    _curves(axes, vqvae["epochs"], curves)
    axes = _panel(page, 738, "Priors: nats per code", width=200)
    curves = []
    for kind, colour in (("gated", ACCENT), ("plain", WARM)):
        history = training[f"{kind}_prior"]["history"]
        axes.plot(history["epochs"], history["train"]["loss"], color=colour, alpha=0.35)
        curves.append((kind, history["validation"]["loss"], colour, history["epochs"]))
    for _, values, colour, epochs in curves:
        axes.plot(epochs, values, color=colour, marker="o", markersize=3)
    axes.set_xlabel("epochs", fontsize=points(11))
    axes.set_xlim(left=0)
    top = max(max(values) for _, values, _, _ in curves)
    bottom = min(min(values) for _, values, _, _ in curves)
    axes.set_ylim(0.9 * bottom, 1.1 * top)
    _end_labels(axes, [curve[:3] for curve in curves])
    page.text(
        _left := 18,
        298,
        footnote_of(numbers) + ". Faint: training. Test images were only watched.",
        size=10.5,
        color=MUTED,
    )
    return page


@styled
def draw_codebook_usage(numbers, _pictures):
    """How often each code occurs; what each latent of the Gaussian VAE carries."""
    page = Page(1010, 316)
    codes = numbers["codes"]
    histogram = np.sort(codes["test"]["histogram"])[::-1]
    axes = _panel(page, 62, "VQ-VAE: how often each code is used", width=400)
    share = histogram / histogram.sum()
    ranks = np.arange(1, len(share) + 1)
    used = share > 0
    axes.bar(ranks[used], share[used], width=0.82, color=ACCENT)
    axes.set_yscale("log")
    axes.axhline(1 / len(share), color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.text(
        len(share),
        1.15 / len(share),
        "even use",
        ha="right",
        color=MUTED,
        fontsize=points(11),
    )
    axes.set_xlabel("codes, most frequent first (test images)", fontsize=points(11))
    axes.set_xlim(0, len(share) + 1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.text(
        0.98,
        0.94,
        f"{codes['test']['n_used']} of {codes['n_codes']} used, "
        f"perplexity {codes['test']['perplexity']:.1f}",
        transform=axes.transAxes,
        ha="right",
        fontsize=points(12),
    )
    vae = numbers["gaussian_vae"]
    kl = np.asarray(vae["kl_per_latent"]["sorted"])
    axes = _panel(page, 570, "Gaussian VAE: what each latent carries", width=400)
    axes.fill_between(
        np.arange(1, len(kl) + 1), kl, color=WARM, linewidth=0, step="mid"
    )
    axes.set_xlim(0, len(kl) + 1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("KL, nats", fontsize=points(11))
    axes.set_xlabel("latents, largest first (test images)", fontsize=points(11))
    axes.text(
        0.98,
        0.94,
        f"{vae['n_active']} of {vae['n_latents']} active",
        transform=axes.transAxes,
        ha="right",
        fontsize=points(12),
    )
    page.text(18, 302, footnote_of(numbers), size=10.5, color=MUTED)
    return page


@styled
def draw_rate_distortion(numbers, _pictures):
    """Distortion against rate: this run, and what is known of the original."""
    page = Page(760, 440)
    axes = page.axes(72, 34, 640, 330)
    mse = 1000 * numbers["reconstruction"]["mse"]
    priors = numbers["priors"]
    # Nearest codes, which nobody trained for, are far off on the right.
    curve = [p for p in numbers["rate_distortion"] if p["price"] > 0]
    bits = [point["bits_per_image"] for point in curve]
    errors = [1000 * point["mse"] for point in curve]
    axes.plot(bits, errors, color=ACCENT, linewidth=1.2, alpha=0.5, zorder=2)
    axes.scatter(bits, errors, s=16, color=ACCENT, alpha=0.6, zorder=3)
    labelled = [
        (
            priors[kind]["test"]["bits_per_image"],
            mse,
            f"this run, {kind} prior",
            colour,
            corner,
        )
        for kind, colour, corner in (
            ("gated", ACCENT, (-1, -1)),
            ("plain", WARM, (1, 1)),
        )
    ]
    if numbers["data"]["name"] == "mnist":
        labelled += [
            (p["bits_per_image"], 1000 * p["mse"], p["short_label"], MUTED, corner)
            for p, corner in zip(numbers["published"], ((-1, 1), (1, 1)))
        ]
    for x, y, label, colour, (right, up) in labelled:
        axes.scatter([x], [y], s=46, color=colour, zorder=4)
        axes.annotate(
            label,
            (x, y),
            xytext=(7 * right, 6 * up),
            textcoords="offset points",
            ha="left" if right > 0 else "right",
            va="bottom" if up > 0 else "top",
            color=colour,
            fontsize=points(12),
            fontweight="bold" if colour == ACCENT else "normal",
        )
    xs = [p[0] for p in labelled] + bits
    ys = [p[1] for p in labelled] + errors
    x_room = 0.25 * (max(xs) - min(xs)) + 2
    y_room = 0.15 * (max(ys) - min(ys)) + 0.1
    axes.set_xlim(min(xs) - x_room, max(xs) + x_room)
    axes.set_ylim(max(0, min(ys) - y_room), max(ys) + y_room)
    axes.set_xlabel("bits per image under the prior", fontsize=points(12))
    axes.set_ylabel("squared error × 1000, pixels in [0, 1]", fontsize=points(12))
    page.text(40, 22, "Lower left is better", size=11, color=MUTED)
    page.text(
        18,
        426,
        footnote_of(numbers)
        + ". Line: other prices of code length. Grey: measured elsewhere.",
        size=10.5,
        color=MUTED,
    )
    return page


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
