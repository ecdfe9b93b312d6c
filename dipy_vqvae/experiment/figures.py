"""The figures of the experiment, each as a PNG picture."""

from dataclasses import dataclass

from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
import numpy as np

from dipy_vqvae.experiment.arms import LABELS
from dipy_vqvae.experiment.tables import arm_of, n_distinct_of
from dipy_vqvae.report import (
    ACCENT,
    INK,
    MUTED,
    WARM,
    Page,
    code_colours,
    draw_curves,
    end_labels,
    make_mosaic,
    number,
    panel,
    percent,
    points,
    strip,
    styled,
)

_MARGIN = 18
HEADINGS = {
    "test": "Test images, encoded and decoded",
    "uniform": "No prior: independent codes",
    "argmax_plain": "PixelCNN prior without the sampling layer",
    "plain": "PixelCNN prior with the sampling layer",
    "vae_reconstruction": "Reference: a Gaussian VAE, same encoder and decoder",
}


# Rows of images


@dataclass(frozen=True, eq=False)
class ImageRow:
    """A row of images between its label and its values."""

    title: str
    subtitle: str
    images: np.ndarray  # (n, H, W) or (n, H, W, 3), in [0, 1]
    values: tuple = ()  # the second line of a value is smaller
    heading: str | None = None  # above the first row of a group


def image_rows(rows, *, headers=(), note=None, label_width=196):
    """Draw rows of images with labels at their left and values at their right."""
    zoom, value_width, row_gap, heading_height = 2, 70, 6, 34
    n, size = max(len(row.images) for row in rows), 28 * zoom
    left = _MARGIN + label_width
    right = left + (n * 29 - 1) * zoom
    width = right + len(headers) * value_width + _MARGIN
    top = _MARGIN + 16 * max((h.count("\n") + 1 for h in headers), default=0)
    n_headings = sum(row.heading is not None for row in rows)
    height = top + len(rows) * (size + row_gap) + n_headings * heading_height + 40
    page = Page(width, height)
    ends = [right + (i + 1) * value_width for i in range(len(headers))]
    for x, header in zip(ends, headers):
        for j, line in enumerate(reversed(header.split("\n"))):
            page.text(x, top - 12 - 15 * j, line, size=11, color=MUTED, ha="right")
    y = top
    for row in rows:
        if row.heading:
            page.line(_MARGIN, width - _MARGIN, y + 7)
            heading = {"size": 12, "color": ACCENT, "weight": "bold"}
            page.text(_MARGIN, y + 25, row.heading, **heading)
            y += heading_height
        page.picture(left, y, strip(row.images, n=n), zoom=zoom)
        two_lines = row.subtitle or any("\n" in value for value in row.values)
        baseline = y + size / 2 + (-3 if two_lines else 4)
        page.text(_MARGIN, baseline, row.title, size=13)
        page.text(_MARGIN, baseline + 17, row.subtitle, size=11, color=MUTED)
        for x, value in zip(ends, row.values):
            first, _, second = value.partition("\n")
            page.text(x, baseline, first, size=12, ha="right")
            page.text(x, baseline + 17, second, size=11, color=MUTED, ha="right")
        y += size + row_gap
    _footnote(page, note)
    return page


def _footnote(page, text):
    page.text(_MARGIN, page.height - 14, text, size=10.5, color=MUTED)


def conditions(numbers, more=""):
    """Write which images and settings a figure belongs to."""
    data = numbers["data"]
    return (
        f"{data['title']}: {data['n_train']:,} training and {data['n_test']:,} test "
        f"images, {numbers['settings']['name']} settings, seed {numbers['random_seed']}"
        f"{more}"
    )


@styled
def draw_arms(numbers, pictures):
    """Draw all arms but the training images."""
    rows = []
    for key, label in LABELS.items():
        if key == "train":
            continue
        arm = arm_of(numbers, key)
        subtitle = label.subtitle
        if key.startswith("layer"):
            subtitle += f", τ = {numbers['sampling_layer']['shown_tau']:g}"
        mse = number(arm["mse"], 4) if label.from_images else ""
        values = [mse, _in_two_lines(arm), number(arm["frechet"], 1)]
        if key == "test":
            values[0] = values[2] = ""
        images, heading = pictures.arms[key], HEADINGS.get(key)
        rows.append(
            ImageRow(label.numbered_title, subtitle, images, tuple(values), heading)
        )
    return image_rows(
        rows,
        headers=("MSE", "distinct", "Fréchet"),
        note=conditions(numbers, ". Generated images: the first ones, not selected."),
    )


def _in_two_lines(arm):
    return n_distinct_of(arm).replace(" ", "\n", 1)


@styled
def draw_layer(numbers, pictures):
    """Draw reconstructions from the sampling layer, by temperature and sign."""
    headings = {
        "nearest": "Logits −d²/τ: near codes are likely",
        "farthest": "Logits +d²/τ, as in the original notebook: far codes are likely",
    }
    rows = []
    for row in numbers["sampling_layer"]["draws"]:
        favour, tau = row["favour"], row["tau"]
        title = f"τ = {tau:g}" if tau else "Nearest codes"
        subtitle = "" if tau else "no sampling"
        values = (percent(row["equal_codes"]), percent(row["identical_images"]))
        values = (*values, number(row["mse"], 4))
        images, heading = pictures.layer[favour, tau], headings.pop(favour, None)
        rows.append(ImageRow(title, subtitle, images, values, heading))
    return image_rows(
        rows,
        headers=("equal\ncodes", "identical\nimages", "MSE"),
        label_width=130,
        note=conditions(numbers, ". Equal codes, identical images: of two draws."),
    )


@styled
def draw_temperatures(numbers, pictures):
    """Draw samples of the gated prior by temperature."""
    notes = {0.0: "argmax, no sampling layer", 1.0: "distribution of the prior"}
    rows = []
    for row in numbers["temperatures"]:
        temperature = row["temperature"]
        distance, frechet = row["mean_pairwise_distance"], row["frechet"]
        rows.append(
            ImageRow(
                f"Temperature {temperature:g}",
                notes.get(temperature, ""),
                pictures.temperatures[temperature],
                (_in_two_lines(row), number(distance, 2), number(frechet, 1)),
            )
        )
    headers = ("distinct", "pair\ndistance", "Fréchet")
    return image_rows(rows, headers=headers, note=conditions(numbers))


@styled
def draw_neighbours(numbers, pictures):
    """Draw samples and the training images nearest to them."""
    rows = [
        ImageRow("Samples", "of the gated prior", pictures.samples),
        ImageRow("Nearest", "training images", pictures.neighbours),
    ]
    return image_rows(rows, label_width=170, note=conditions(numbers))


@styled
def draw_code_maps(numbers, pictures):
    """Draw code maps beside their images."""
    colours = code_colours(pictures.codebook)
    # The most frequent code is that of the background.
    colours[np.argmax(numbers["codes"]["test"]["histogram"])] = 0.93

    def code_map(key):
        codes, shape = pictures.codes[key], pictures.arms[key].shape[1:3]
        for axis, size in enumerate(shape, start=1):
            codes = codes.repeat(-(-size // codes.shape[axis]), axis)
        return colours[codes[:, : shape[0], : shape[1]]]

    grid = "×".join(map(str, numbers["codes"]["grid_shape"]))
    encoded, drawn = code_map("reconstruction"), code_map("gated")
    rows = [
        ImageRow("Test image", "", pictures.arms["test"], heading="Encoded"),
        ImageRow("Codes", f"{grid}, from the encoder", encoded),
        ImageRow("Reconstruction", "", pictures.arms["reconstruction"]),
        ImageRow("Codes", f"{grid}, from the prior", drawn, heading="Generated"),
        ImageRow("Decoded", "", pictures.arms["gated"]),
    ]
    note = conditions(numbers, ". Similar colours: codebook vectors near each other.")
    return image_rows(rows, label_width=170, note=note)


@styled
def draw_generated(_numbers, pictures):
    """Draw many samples of the gated prior, in the order of sampling."""
    zoom, margin = 1.5, 12
    mosaic = make_mosaic(pictures.generated, n_columns=20)
    height, width = (n * zoom + 2 * margin for n in mosaic.shape)
    page = Page(width, height)
    page.picture(margin, margin, mosaic, zoom=zoom)
    return page


# Charts


@styled
def draw_training(numbers, _pictures):
    """Draw training curves of the VQ-VAE and of the priors."""
    page = Page(1010, 312)
    training = numbers["training"]
    vqvae = training["vqvae"]["history"]
    axes = panel(page, 62, "VQ-VAE: squared error × 1000", width=200)
    curves = [
        (name, [1000 * mse for mse in vqvae[part]["mse_unit"]], colour)
        for name, part, colour in (
            ("training", "train", ACCENT),
            ("test", "validation", INK),
        )
    ]
    draw_curves(axes, vqvae["epochs"], curves, log=True)
    axes = panel(page, 400, "VQ-VAE: codes on test images", width=200)
    curves = [
        ("used", vqvae["validation"]["n_used"], ACCENT),
        ("perplexity", vqvae["validation"]["perplexity"], INK),
    ]
    axes.set_ylim(0, numbers["codes"]["n_codes"] * 1.05)
    draw_curves(axes, vqvae["epochs"], curves)
    axes = panel(page, 738, "Priors: nats per code", width=200)
    _draw_prior_curves(axes, training)
    note = ". Faint: training. Test images were not used for selection."
    _footnote(page, conditions(numbers, note))
    return page


def _draw_prior_curves(axes, training):
    curves = []
    for kind, colour in (("gated", ACCENT), ("plain", WARM)):
        history = training[f"{kind}_prior"]["history"]
        epochs, losses = history["epochs"], history["validation"]["loss"]
        axes.plot(epochs, history["train"]["loss"], color=colour, alpha=0.35)
        axes.plot(epochs, losses, color=colour, marker="o", markersize=3)
        curves.append((kind, losses, colour))
    axes.set_xlabel("epochs", fontsize=points(11))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(left=0)
    validation = np.concatenate([losses for _, losses, _ in curves])
    axes.set_ylim(0.9 * validation.min(), 1.1 * validation.max())
    end_labels(axes, curves)


@styled
def draw_codebook_usage(numbers, _pictures):
    """Draw code frequencies and the divergence of each latent of the Gaussian VAE."""
    page = Page(1010, 316)
    codes, vae = numbers["codes"], numbers["gaussian_vae"]
    axes = panel(page, 62, "VQ-VAE: code frequencies", width=400)
    share = np.sort(codes["test"]["histogram"])[::-1] / sum(codes["test"]["histogram"])
    n, n_used = len(share), np.count_nonzero(share)
    axes.bar(np.arange(1, n_used + 1), share[:n_used], width=0.82, color=ACCENT)
    axes.set_yscale("log")
    axes.axhline(1 / n, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    uniform = {"ha": "right", "color": MUTED, "fontsize": points(11)}
    axes.text(n, 1.15 / n, "uniform", **uniform)
    axes.set_xlim(0, n + 1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.set_xlabel("codes, most frequent first (test images)", fontsize=points(11))
    _corner_text(
        axes,
        f"{codes['test']['n_used']} of {codes['n_codes']} used, "
        f"perplexity {codes['test']['perplexity']:.1f}",
    )
    axes = panel(page, 570, "Gaussian VAE: information per latent", width=400)
    kl = vae["kl_per_latent"]["sorted"]
    ranks = np.arange(1, len(kl) + 1)
    axes.fill_between(ranks, kl, color=WARM, linewidth=0, step="mid")
    axes.set_xlim(0, len(kl) + 1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("KL divergence, nats", fontsize=points(11))
    axes.set_xlabel("latents, largest first (test images)", fontsize=points(11))
    _corner_text(axes, f"{vae['n_active']} of {vae['n_latents']} active")
    _footnote(page, conditions(numbers))
    return page


def _corner_text(axes, text):
    options = {"transform": axes.transAxes, "ha": "right", "fontsize": points(12)}
    axes.text(0.98, 0.94, text, **options)


@styled
def draw_rate_distortion(numbers, _pictures):
    """Draw distortion against rate, on MNIST beside the original experiment."""
    page = Page(760, 440)
    axes = page.axes(72, 34, 640, 330)
    mse = 1000 * numbers["reconstruction"]["mse"]
    rates = {k: p["test"]["bits_per_image"] for k, p in numbers["priors"].items()}
    bits, errors = _draw_other_weights(axes, numbers, mse, 1.25 * max(rates.values()))
    labelled = [
        (rates["gated"], mse, "this run, gated prior", ACCENT, (-1, -1)),
        (rates["plain"], mse, "this run, plain prior", WARM, (1, 1)),
    ]
    reported = []
    if numbers["data"]["name"] == "mnist":
        reported = [
            (p["bits_per_image"], 1000 * p["mse"]) for p in numbers["published"]
        ]
        names = [p["short_label"] for p in numbers["published"]]
        corners = ((0, 1), (1, 1))
        labelled += [
            (*point, name, MUTED, corner)
            for point, name, corner in zip(reported, names, corners)
        ]
    for point in labelled:
        _draw_labelled_point(axes, *point)
    xs = [point[0] for point in labelled] + bits
    ys = [point[1] for point in labelled] + errors
    x_margin = 0.25 * (max(xs) - min(xs)) + 2
    y_margin = 0.15 * (max(ys) - min(ys)) + 0.1
    axes.set_xlim(min(xs) - x_margin, max(xs) + x_margin)
    axes.set_ylim(max(0, min(ys) - y_margin), max(ys) + y_margin)
    hint = "Lower left is better"
    if reported:
        hint += ". Shaded: lower error at a lower rate than the original"
        _shade_below(axes, *np.min(reported, axis=0))
    axes.set_xlabel("rate, bits per image under the prior", fontsize=points(12))
    axes.set_ylabel("squared error × 1000, pixels in [0, 1]", fontsize=points(12))
    page.text(40, 22, hint, size=11, color=MUTED)
    _footnote(page, conditions(numbers))
    return page


def _draw_other_weights(axes, numbers, mse, most_bits):
    """Draw the curve over the rate weights; far ends are in the table only."""
    curve = [
        (point["bits_per_image"], 1000 * point["mse"])
        for point in numbers["rate_distortion"]
        if point["bits_per_image"] < most_bits and 1000 * point["mse"] < 1.3 * mse
    ]
    bits, errors = [point[0] for point in curve], [point[1] for point in curve]
    axes.plot(bits, errors, color=ACCENT, linewidth=1.2, alpha=0.5, zorder=2)
    axes.scatter(bits, errors, s=16, color=ACCENT, alpha=0.6, zorder=3)
    return bits, errors


def _draw_labelled_point(axes, x, y, label, colour, corner):
    right, up = corner
    axes.scatter([x], [y], s=46, color=colour, zorder=4)
    axes.annotate(
        label,
        (x, y),
        xytext=(7 * right, 6 * up),
        textcoords="offset points",
        ha={-1: "right", 0: "center", 1: "left"}[right],
        va="bottom" if up > 0 else "top",
        color=colour,
        fontsize=points(12),
        fontweight="bold" if colour == ACCENT else "normal",
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=5,
    )


def _shade_below(axes, right, top):
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    shade = {"color": ACCENT, "alpha": 0.06, "linewidth": 0, "zorder": 0}
    axes.fill_between([left, right], bottom, top, **shade)


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
