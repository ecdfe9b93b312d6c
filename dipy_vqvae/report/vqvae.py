"""HTML report of the fit of a VQ-VAE."""

from html import escape
import math

from dipy_vqvae.data import plane_of_files
from dipy_vqvae.report.arrays import as_files
from dipy_vqvae.report.atlas import code_blocks, draw_atlas
from dipy_vqvae.report.charts import draw_training, draw_usage
from dipy_vqvae.report.html import (
    Table,
    cards,
    details,
    document,
    figure,
    samples_section,
)
from dipy_vqvae.report.objects import Report, verdict_html
from dipy_vqvae.report.pictures import code_colours
from dipy_vqvae.report.rows import draw_examples
from dipy_vqvae.report.summary import summarise
from dipy_vqvae.report.verdict import judge_vqvae
from dipy_vqvae.report.view import View
from dipy_vqvae.report.wording import MISSING, describe_training, number
from dipy_vqvae.vqvae import codebook_fingerprint


def vqvae_report(fit, images, *, held_out):
    """Report a VQ-VAE: errors, reconstructions, training, codebook usage, rate.

    Parameters
    ----------
    fit : VQVAEFit
        The fit.
    images : ImageCollection or ArraySubjects
        Images to evaluate; of large collections, a subset is used.
    held_out : bool
        Whether the images were held out from the training.

    Returns
    -------
    report : Report
    """
    collection = as_files(images)
    summary = summarise(fit, collection, held_out=held_out)
    verdict = judge_vqvae(fit, summary)
    colours = code_colours(fit.codebook)
    view = View.of_file(collection.files[0], fit.spatial_dims)
    drawn = _figures(fit, summary, colours, view)
    title = f"VQ-VAE, {fit.n_codes} codes"
    parts = [
        f"<h1>{escape(title)}</h1>",
        *verdict_html(verdict),
        f'<p class="lead">{escape(_lead(fit, summary, collection))}</p>',
        cards(_cards(fit, summary)),
        "<h2>Reconstructions</h2>",
        _examples(drawn),
        "<h2>Reconstruction error</h2>",
        _error_table(summary).to_html(),
        "<h2>Training</h2>",
        figure(
            drawn["training"],
            "Mean squared error, squared distance of encoder outputs to their codes, in "
            "units of the network, and codes in use, by epoch. With held-out images, a "
            "vertical line marks the best epoch.",
        ),
        f"<p>{escape(describe_training(fit.history))}</p>",
        "<h2>Codebook usage</h2>",
        figure(drawn["usage"], _usage_caption(fit, summary)),
        "<h2>Where codes occur</h2>",
        figure(drawn["atlas"], _atlas_caption(fit)),
        "<h2>Rate</h2>",
        rate_table(fit, summary).to_html(),
        samples_section(codebook_fingerprint(fit)),
        *details(fit.description),
    ]
    return Report(
        title=title,
        verdict=verdict,
        figures={name: png.figure for name, png in drawn.items()},
        html=document(title, parts),
    )


def _figures(fit, summary, colours, view):
    """Draw the figures of the report, by name."""
    drawn = {}
    if summary.examples:
        drawn["reconstructions"] = draw_examples(summary.examples, code_colours=colours)
    return {
        **drawn,
        "training": draw_training(fit.history, n_codes=fit.n_codes),
        "usage": draw_usage(summary.usage),
        "atlas": draw_atlas(summary.atlas, colours, code_blocks(fit), view),
    }


def _usage_caption(fit, summary):
    usage = summary.usage
    return (
        f"Code frequencies on {_images(summary)}. {usage.n_used} of {fit.n_codes} "
        f"codes are used; the perplexity is {usage.perplexity:.1f}."
    )


def _atlas_caption(fit):
    along = ", averaged along the third, second and first axis"
    along = along if fit.spatial_dims == 3 else ""
    return (
        "The most frequent codes, with their number and frequency. Right: the "
        f"frequency of the code at each position of the image{along}; the darkest "
        "position is the most frequent one of each code. Left: the block that the "
        "decoder draws among equal codes, and the colour of the code above."
    )


def rate_table(fit, summary):
    """Make the table of rates, without a prior."""
    rates = [
        ("Fixed length", math.log2(fit.n_codes)),
        ("Entropy of the code frequencies", math.log2(summary.usage.perplexity)),
    ]
    nats = fit.history.train.get("nats_per_code", [])
    # The epochs of the decoder alone have none.
    nats = [value for value in nats if value is not None]
    if nats:
        rates.append(("Rate network, training images", nats[-1] / math.log(2)))
    rows = []
    for name, bits in rates:
        per_image = bits * summary.codes_per_image
        per_voxel = per_image / summary.voxels_per_image
        ratio = f"{summary.bits_per_voxel / per_voxel:,.0f}" if per_voxel else MISSING
        digits = (number(bits, 2), number(per_image, 0), number(per_voxel, 3))
        rows.append((name, *digits, ratio))
    note = (
        f"On average {summary.codes_per_image:,.0f} codes per image of "
        f"{summary.voxels_per_image:,.0f} voxels. Compression ratio: bits per voxel of "
        "the files over bits per voxel of the codes. A prior (dipy_fit_pixelcnn) lowers "
        "the rate further."
    )
    units = ("bits per code", "bits per image", "bits per voxel", "compression ratio")
    return Table(("", *units), rows, note)


def _images(summary):
    kind = "held-out" if summary.held_out else "training"
    text = f"{summary.n_images:,} {kind} image{'s' * (summary.n_images != 1)}"
    if summary.n_images < summary.n_all_images:
        text += f" (of {summary.n_all_images:,})"
    return text


def _lead(fit, summary, collection):
    training = fit.description.get("training_images", {})
    n = training.get("number")
    plane = plane_of_files(collection.files)
    kind = f"{plane} slices" if plane else "slices"
    kind = kind if fit.spatial_dims == 2 else "volumes"
    trained = f"Trained on {n:,} {kind}" if isinstance(n, int) else f"Trained on {kind}"
    factors = " × ".join(str(f) for f in fit.config.downsampling)
    files = ""
    if 1 < summary.n_files < summary.n_images:
        files = f" from {summary.n_files:,} files"
    return (
        f"{trained}, with {factors} voxels per code. All results but the training curves "
        f"are of {_images(summary)}{files}."
    )


def _cards(fit, summary):
    errors, entropy = summary.errors, math.log2(summary.usage.perplexity)
    bits = entropy * summary.codes_per_image / summary.voxels_per_image
    psnr = MISSING if errors["psnr"] is None else f"{errors['psnr']:.1f} dB"
    return (
        (psnr, "PSNR"),
        (number(errors["ssim"], 3), "SSIM"),
        (_significant(errors["mae"]), "mean absolute error, in units of the images"),
        (f"{summary.usage.n_used} / {fit.n_codes}", "codes used"),
        (number(bits, 3), "bits per voxel, entropy of the codes"),
    )


def _examples(drawn):
    if "reconstructions" not in drawn:
        return "<p>All images that were evaluated are constant.</p>"
    return figure(
        drawn["reconstructions"],
        "Images with their reconstructions, residuals and codes. Residual: original "
        "minus reconstruction, as a percentage of the intensity range of the picture; "
        "blue where the reconstruction is too bright, red where it is too dark. Similar "
        "colours: codebook vectors near each other.",
    )


def _error_table(summary):
    errors = summary.errors
    return Table(
        ("", "MSE", "MAE", "PSNR, dB", "SSIM"),
        [
            (
                _images(summary),
                _significant(errors["mse"]),
                _significant(errors["mae"]),
                number(errors["psnr"], 2),
                number(errors["ssim"], 4),
            )
        ],
        "Means over files of the errors inside the mask, in units of the files; those of "
        "each file are what dipy_reconstruct_vqvae writes to its table. PSNR and SSIM "
        "are relative to the range of the file's values. Constant files have neither.",
    )


def _significant(value):
    return MISSING if value is None else f"{value:,.4g}"
