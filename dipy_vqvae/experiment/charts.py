"""The charts of the experiment: training, use of codes, rate and distortion."""

from matplotlib.patheffects import withStroke
from matplotlib.ticker import (
    MaxNLocator,
)
import numpy as np

from dipy_vqvae.experiment.layout import footnote_of
from dipy_vqvae.report import (
    ACCENT,
    INK,
    MUTED,
    WARM,
    Page,
    draw_curves,
    end_labels,
    panel,
    points,
    styled,
)


@styled
def draw_training(numbers, _pictures):
    """Training curves of the VQ-VAE and of the priors."""
    page = Page(1010, 312)
    training = numbers["training"]
    vqvae = training["vqvae"]["history"]
    to_unit = 1000.0
    axes = panel(page, 62, "VQ-VAE: squared error × 1000", width=200)
    curves = [
        ("training", [to_unit * v for v in vqvae["train"]["mse_unit"]], ACCENT),
        ("test", [to_unit * v for v in vqvae["validation"]["mse_unit"]], INK),
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
    curves = []
    for kind, colour in (("gated", ACCENT), ("plain", WARM)):
        history = training[f"{kind}_prior"]["history"]
        axes.plot(history["epochs"], history["train"]["loss"], color=colour, alpha=0.35)
        curves.append((kind, history["validation"]["loss"], colour, history["epochs"]))
    for _, values, colour, epochs in curves:
        axes.plot(epochs, values, color=colour, marker="o", markersize=3)
    axes.set_xlabel("epochs", fontsize=points(11))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(left=0)
    top = max(max(values) for _, values, _, _ in curves)
    bottom = min(min(values) for _, values, _, _ in curves)
    axes.set_ylim(0.9 * bottom, 1.1 * top)
    end_labels(axes, [curve[:3] for curve in curves])
    page.text(
        18,
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
    axes = panel(page, 62, "VQ-VAE: how often each code is used", width=400)
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
    axes = panel(page, 570, "Gaussian VAE: what each latent carries", width=400)
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
    # Prices far from that of the training lead far off; the table has them.
    most = 1.25 * max(sets["test"]["bits_per_image"] for sets in priors.values())
    curve = [
        point
        for point in numbers["rate_distortion"]
        if point["bits_per_image"] < most and 1000 * point["mse"] < 1.3 * mse
    ]
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
            for p, corner in zip(numbers["published"], ((0, 1), (1, 1)))
        ]
    for x, y, label, colour, (right, up) in labelled:
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
    hint = "Lower left is better"
    xs = [p[0] for p in labelled] + bits
    ys = [p[1] for p in labelled] + errors
    x_room = 0.25 * (max(xs) - min(xs)) + 2
    y_room = 0.15 * (max(ys) - min(ys)) + 0.1
    axes.set_xlim(min(xs) - x_room, max(xs) + x_room)
    axes.set_ylim(max(0, min(ys) - y_room), max(ys) + y_room)
    if numbers["data"]["name"] == "mnist":
        _shade_better(axes, [p[:2] for p in labelled if p[3] == MUTED])
        hint += ". Tinted: less error and fewer bits than the original"
    axes.set_xlabel("bits per image under the prior", fontsize=points(12))
    axes.set_ylabel("squared error × 1000, pixels in [0, 1]", fontsize=points(12))
    page.text(40, 22, hint, size=11, color=MUTED)
    page.text(
        18,
        426,
        footnote_of(numbers),
        size=10.5,
        color=MUTED,
    )
    return page


def _shade_better(axes, reference):
    """Tint where both error and bits are less than those of all of `reference`."""
    right, top = (min(values) for values in zip(*reference))
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    axes.fill_between(
        [left, right], bottom, top, color=ACCENT, alpha=0.06, linewidth=0, zorder=0
    )
