"""The figures of the experiment, each as a PNG picture."""

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
    PictureRow,
    code_colours,
    draw_curves,
    draw_frequencies,
    draw_rows,
    label_ends,
    make_mosaic,
    new_charts,
    number,
    percent,
    styled,
)

HEADINGS = {
    "test": "Test images, encoded and decoded",
    "uniform": "No prior: independent codes",
    "argmax_plain": "PixelCNN prior without the sampling layer",
    "plain": "PixelCNN prior with the sampling layer",
    "vae_reconstruction": "Reference: a Gaussian VAE, same encoder and decoder",
}


# Rows of images


def image_rows(rows, *, note=None, label_width=196, **options):
    """Draw rows of MNIST images at twice their size."""
    options = {"gap": 2, "zoom": 2, "label_width": label_width, **options}
    return draw_rows(rows, footnote=note or "", **options)


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
        images, heading = pictures.arms[key], HEADINGS.get(key, "")
        rows.append(
            PictureRow(
                label.numbered_title, subtitle, images, values=values, heading=heading
            )
        )
    return image_rows(
        rows,
        value_headers=("MSE", "distinct", "Fréchet"),
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
        images, heading = pictures.layer[favour, tau], headings.pop(favour, "")
        rows.append(PictureRow(title, subtitle, images, values=values, heading=heading))
    return image_rows(
        rows,
        value_headers=("equal\ncodes", "identical\nimages", "MSE"),
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
            PictureRow(
                f"Temperature {temperature:g}",
                notes.get(temperature, ""),
                pictures.temperatures[temperature],
                values=(_in_two_lines(row), number(distance, 2), number(frechet, 1)),
            )
        )
    headers = ("distinct", "pair\ndistance", "Fréchet")
    return image_rows(rows, value_headers=headers, note=conditions(numbers))


@styled
def draw_neighbours(numbers, pictures):
    """Draw samples and the training images nearest to them."""
    rows = [
        PictureRow("Samples", "of the gated prior", pictures.samples),
        PictureRow("Nearest", "training images", pictures.neighbours),
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
        PictureRow("Test image", "", pictures.arms["test"], heading="Encoded"),
        PictureRow("Codes", f"{grid}, from the encoder", encoded),
        PictureRow("Reconstruction", "", pictures.arms["reconstruction"]),
        PictureRow("Codes", f"{grid}, from the prior", drawn, heading="Generated"),
        PictureRow("Decoded", "", pictures.arms["gated"]),
    ]
    note = conditions(numbers, ". Similar colours: codebook vectors near each other.")
    return image_rows(rows, label_width=170, note=note)


@styled
def draw_generated(_numbers, pictures):
    """Draw many samples of the gated prior, in the order of sampling."""
    mosaic = make_mosaic(pictures.generated, n_columns=20)
    return draw_rows([PictureRow("", "", [mosaic])], label_width=0, zoom=1.5)


# Charts


@styled
def draw_training(numbers, _pictures):
    """Draw training curves of the VQ-VAE and of the priors."""
    note = ". Faint: training. Test images were not used for selection."
    figure, (errors, usage, priors) = new_charts(
        "VQ-VAE: squared error × 1000",
        "VQ-VAE: codes on test images",
        "Priors: nats per code",
        width=1010,
        height=312,
        footnote=conditions(numbers, note),
    )
    training = numbers["training"]
    vqvae = training["vqvae"]["history"]
    curves = [
        (name, [1000 * mse for mse in vqvae[part]["mse_unit"]], colour)
        for name, part, colour in (
            ("training", "train", ACCENT),
            ("test", "validation", INK),
        )
    ]
    draw_curves(errors, vqvae["epochs"], curves, log=True)
    curves = [
        ("used", vqvae["validation"]["n_used"], ACCENT),
        ("perplexity", vqvae["validation"]["perplexity"], INK),
    ]
    usage.set_ylim(0, numbers["codes"]["n_codes"] * 1.05)
    draw_curves(usage, vqvae["epochs"], curves)
    _draw_prior_curves(priors, training)
    return figure


def _draw_prior_curves(axes, training):
    curves = []
    for kind, colour in (("gated", ACCENT), ("plain", WARM)):
        history = training[f"{kind}_prior"]["history"]
        epochs, losses = history["epochs"], history["validation"]["loss"]
        axes.plot(epochs, history["train"]["loss"], color=colour, alpha=0.35)
        axes.plot(epochs, losses, color=colour, marker="o", markersize=3)
        curves.append((kind, losses, colour))
    axes.set_xlabel("epochs")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(left=0)
    validation = np.concatenate([losses for _, losses, _ in curves])
    axes.set_ylim(0.9 * validation.min(), 1.1 * validation.max())
    label_ends(axes, curves)


@styled
def draw_codebook_usage(numbers, _pictures):
    """Draw code frequencies and the divergence of each latent of the Gaussian VAE."""
    codes, vae = numbers["codes"], numbers["gaussian_vae"]
    figure, (axes, latents) = new_charts(
        "VQ-VAE: code frequencies",
        "Gaussian VAE: information per latent",
        width=1010,
        height=316,
        footnote=conditions(numbers),
    )
    draw_frequencies(axes, codes["test"]["histogram"])
    axes.set_xlabel("codes, most frequent first (test images)")
    _corner_text(
        axes,
        f"{codes['test']['n_used']} of {codes['n_codes']} used, "
        f"perplexity {codes['test']['perplexity']:.1f}",
    )
    kl = vae["kl_per_latent"]["sorted"]
    ranks = np.arange(1, len(kl) + 1)
    latents.fill_between(ranks, kl, color=WARM, linewidth=0, step="mid")
    latents.set_xlim(0, len(kl) + 1)
    latents.set_ylim(bottom=0)
    latents.set_ylabel("KL divergence, nats")
    latents.set_xlabel("latents, largest first (test images)")
    _corner_text(latents, f"{vae['n_active']} of {vae['n_latents']} active")
    return figure


def _corner_text(axes, text):
    axes.text(0.98, 0.94, text, transform=axes.transAxes, ha="right")


@styled
def draw_rate_distortion(numbers, _pictures):
    """Draw distortion against rate, on MNIST beside the original experiment."""
    figure, (axes,) = new_charts(
        "", width=760, height=440, footnote=conditions(numbers)
    )
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
    axes.set_xlabel("rate, bits per image under the prior")
    axes.set_ylabel("squared error × 1000, pixels in [0, 1]")
    axes.set_title(hint, size="medium", weight="normal", color=MUTED)
    return figure


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
