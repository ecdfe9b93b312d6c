"""HTML reports of anomaly detection: its calibration, and what it found."""

from html import escape

import numpy as np

from dipy_vqvae.data import short_names
from dipy_vqvae.report.charts import new_charts
from dipy_vqvae.report.html import Table, cards, details, document, figure
from dipy_vqvae.report.pictures import grey_limits, side_by_side, to_grey
from dipy_vqvae.report.rows import PictureRow, draw_rows, shorten
from dipy_vqvae.report.style import ACCENT, FAINT, INK, MUTED, WARM, styled
from dipy_vqvae.report.wording import MISSING, number, percent

# Subjects whose maps are shown.
N_SHOWN = 8
# Nominal rates of the table of thresholds.
RATES = (0.1, 0.05, 0.01, 0.001)
# Scores, in standard deviations, that have the full colour.
_FULL = 6.0
_LONGEST_TITLE = 16  # letters
_NO_MASKS = (
    "No masks were given: skull, scalp and background count as the brain does. They "
    "differ most between subjects, so that leaving them out (--mask_files with a mask of "
    "the brain, and --erode for its rim) lowers all thresholds and shows smaller changes."
)
_NOT_CLINICAL = (
    "“Unlike the training scans” is all that these maps say: not diseased, and not for "
    "clinical use."
)
_ERRORS = {
    "fwe": "of healthy subjects have any voxel found (family-wise error)",
    "fdr": "of the voxels found in a subject are false (false discovery rate)",
    "fpr": "of a healthy subject’s voxels are found (false positive rate)",
}


def calibration_report(fit, names, *, has_masks=True):
    """Report the calibration of a detector.

    Parameters
    ----------
    fit : AnomalyFit
        The detector.
    names : list of str
        Names of the healthy subjects.
    has_masks : bool, optional
        Whether they had masks.

    Returns
    -------
    html : str
        Whole document without references to other files.
    """
    null = fit.null
    n = null.n_subjects
    least = 1 / (n + 1)
    warnings = [] if has_masks else [_NO_MASKS]
    if least > 0.05:
        warnings.append(
            f"{n} healthy subjects cannot tell p-values or family-wise rates below "
            f"{least:.3f}; 19 are needed for 0.05, 99 for 0.01."
        )
    typical = np.sort(null.maxima)[n // 2]
    parts = [
        "<h1>Anomaly detector</h1>",
        f'<p class="lead">Calibrated on {n} healthy subjects. {_NOT_CLINICAL}</p>',
        *_warnings(warnings),
        cards(
            [
                (str(n), "healthy subjects"),
                (f"{least:.2g}", "least p-value of a subject"),
                (number(typical, 3), "largest score of a healthy subject, median"),
            ]
        ),
        "<h2>Healthy subjects</h2>",
        figure(
            _draw_subjects(null.z, null.maxima, [], [], []),
            "Each mark is a healthy subject: the surprisal of its codes (about N(0, 1) for "
            "images that the prior draws), and the largest score of its map, standardised "
            "by the others.",
        ),
        "<h2>Thresholds</h2>",
        _thresholds(null).to_html(),
        "<h2>Each healthy subject</h2>",
        Table(
            ("subject", "surprisal z", "largest score", "largest cluster, voxels"),
            [
                (name, f"{z:.2f}", f"{m:.2f}", f"{c:.0f}")
                for name, z, m, c in zip(names, null.z, null.maxima, null.clusters)
            ],
        ).to_html(),
        *details(_settings(fit)),
    ]
    return document("Anomaly detector", parts)


def detection_report(fit, records, *, alpha, error, has_masks=True):
    """Report what a detector found.

    Parameters
    ----------
    fit : AnomalyFit
        The detector.
    records : list of Record
        One for each file, with ``path``, ``summary``, ``row``, ``planes`` and
        ``agreement``.
    alpha : float
        Rate of errors.
    error : {"fwe", "fdr", "fpr"}
        What the rate is of.
    has_masks : bool, optional
        Whether the files had masks.

    Returns
    -------
    html : str
        Whole document without references to other files.
    """
    names = short_names([record.path for record in records])
    found = [record.row["n_clusters"] > 0 for record in records]
    unlike = [record.row["p_maximum"] <= alpha for record in records]
    lead = (
        f"{len(records)} scans beside {fit.null.n_subjects} healthy subjects; at the rate "
        f"asked for, {percent(alpha)} {_ERRORS[error]}. {_NOT_CLINICAL}"
    )
    parts = [
        "<h1>What is unlike the training scans</h1>",
        f'<p class="lead">{lead}</p>',
        *_warnings([] if has_masks else [_NO_MASKS]),
        cards(
            [
                (f"{sum(found)} of {len(records)}", "scans with any voxel found"),
                (
                    f"{sum(unlike)} of {len(records)}",
                    f"scans whose largest score has p ≤ {alpha:g}",
                ),
            ]
        ),
        "<h2>Among the healthy subjects</h2>",
        figure(
            _draw_subjects(
                fit.null.z,
                fit.null.maxima,
                [record.summary.z for record in records],
                [record.summary.maximum for record in records],
                names,
            ),
            "Grey: healthy subjects of the calibration. Blue: the scans.",
        ),
        _score_table(records, names).to_html(),
        *_rates(records, alpha, error),
        "<h2>Maps</h2>",
        figure(
            _draw_maps(records[:N_SHOWN], names),
            "The first scans, through the voxel of the largest score. Orange: brighter "
            "than expected, blue: darker; full colour from 6 standard deviations. "
            "Outlined: found at the rate asked for.",
        ),
        *details(_settings(fit)),
    ]
    return document("What is unlike the training scans", parts)


def _warnings(texts):
    return [f'<p class="warning">{escape(text)}</p>' for text in texts]


def _settings(fit):
    maker = fit.maker
    return {
        "score": fit.score,
        "tail": fit.tail,
        "n_restorations": maker.n_restorations,
        "smoothing": maker.smoothing,
        "random_seed": maker.random_seed,
        "healthy subjects": fit.null.n_subjects,
    }


def _thresholds(null):
    """Table of the scores above which voxels are found."""
    rows = []
    for rate in RATES:
        try:
            family = f"{null.family_threshold(rate):.2f}"
        except ValueError:
            family = MISSING
        rows.append((f"{rate:g}", f"{null.rate_threshold(rate):.2f}", family))
    return Table(
        ("rate", "share of voxels (fpr)", "share of subjects with any voxel (fwe)"),
        rows,
        f"Scores, in standard deviations of healthy subjects. {MISSING}: too few subjects.",
    )


def _score_table(records, names):
    columns = {
        "z": ("surprisal z", ".2f"),
        "p": ("p", ".3g"),
        "maximum": ("largest score", ".2f"),
        "p_maximum": ("p ", ".3g"),
        "n_clusters": ("clusters", "d"),
        "volume_mm3": ("volume, mm³", ",.0f"),
    }
    rows = [
        (name, *(format(record.row[key], f) for key, (_, f) in columns.items()))
        for name, record in zip(names, records)
    ]
    return Table(
        ("scan", *(title for title, _ in columns.values())),
        rows,
        "p: share of healthy subjects with as large a value, the scan counted among them.",
    )


def _rates(records, alpha, error):
    """Compare nominal with realised rates, for scans with labels."""
    known = [record.agreement for record in records if record.agreement is not None]
    if not known:
        return []
    dice = [a.dice for a in known if a.n_lesion]
    false = [a.n_false / a.n_healthy for a in known if a.n_healthy]
    any_false = np.mean([a.n_false > 0 for a in known])
    shares = [
        a.n_false / (a.n_false + a.n_found) for a in known if a.n_false + a.n_found
    ]
    realised = {
        "fwe": (any_false, "scans with a voxel found outside the known lesions"),
        "fdr": (
            np.mean(shares) if shares else 0.0,
            "found voxels outside of them, mean",
        ),
        "fpr": (np.mean(false) if false else 0.0, "voxels outside of them found, mean"),
    }
    rows = [
        (text, percent(alpha) if name == error else MISSING, percent(value, 2))
        for name, (value, text) in realised.items()
    ]
    overlap = f"{np.mean(dice):.3f}" if dice else MISSING
    return [
        "<h2>Beside the known lesions</h2>",
        Table(
            ("", "nominal", "realised"),
            [*rows, ("Dice, mean over scans with a lesion", MISSING, overlap)],
            "Voxels inside the masks. Near lesions also healthy tissue is changed, and the "
            "maps are smooth: rates beside lesions are above those of healthy scans.",
        ).to_html(),
    ]


@styled
def _draw_subjects(healthy_z, healthy_maxima, z, maxima, names):
    """Draw the scores of healthy subjects and of others as two rows of marks."""
    page, axes = new_charts("Surprisal z", "Largest score", width=944, height=230)
    pairs = ((healthy_z, z), (healthy_maxima, maxima))
    for panel, (healthy, others) in zip(axes, pairs):
        panel.scatter(healthy, _spread(len(healthy)), s=22, color=MUTED, alpha=0.75)
        if len(others):
            heights = 1.4 + _spread(len(others))
            panel.scatter(others, heights, s=26, color=ACCENT)
            if len(others) <= N_SHOWN:
                for x, y, name in zip(others, heights, names):
                    panel.annotate(
                        name,
                        (x, y),
                        xytext=(4, 3),
                        textcoords="offset points",
                        fontsize="small",
                        color=INK,
                    )
        panel.set_yticks([0.5, 1.9] if len(others) else [0.5])
        panel.set_yticklabels(["healthy", "scans"] if len(others) else ["healthy"])
        panel.set_ylim(-0.2, 2.8 if len(others) else 1.2)
        panel.grid(axis="y", visible=False)
        if len(others):
            panel.axhline(1.2, color=FAINT, linewidth=0.8)
    return page


def _spread(n):
    """Return heights in [0, 1] at which marks do not hide each other."""
    return (np.arange(n) * 0.618) % 1


@styled
def _draw_maps(records, names):
    """Draw images and scores of scans side by side."""
    rows = []
    for record, name in zip(records, names):
        planes = record.planes
        image = side_by_side(planes.image, gap=4)
        z = side_by_side(planes.z, gap=4)
        lesions = side_by_side(planes.lesions, gap=4) > 0.5
        grey = to_grey(image, grey_limits(image))
        rows.append(
            PictureRow(
                title=shorten(name, _LONGEST_TITLE),
                subtitle=f"largest {record.summary.maximum:.1f}",
                pictures=[grey, overlay(grey, z, lesions)],
                names=("image", "score") if not rows else (),
            )
        )
    return draw_rows(rows)


def overlay(grey, z, lesions):
    """Paint scores over grey levels (H, W, 3), and outline what was found."""
    strength = (np.abs(np.nan_to_num(z)) / _FULL).clip(0, 1)[..., np.newaxis]
    warm, cool = _rgb(WARM), _rgb(ACCENT)
    colour = np.where(np.nan_to_num(z)[..., np.newaxis] < 0, cool, warm)
    # Healthy scores, below 2 standard deviations, stay grey.
    strength = (strength - 2 / _FULL).clip(0, 1) / (1 - 2 / _FULL)
    painted = grey * (1 - strength) + colour * strength
    return np.where(_outline(lesions)[..., np.newaxis], _rgb("#ffd500"), painted)


def _rgb(colour):
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def _outline(chosen):
    """Return the voxels at the rim of what is chosen."""
    padded = np.pad(chosen, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return chosen & ~core
