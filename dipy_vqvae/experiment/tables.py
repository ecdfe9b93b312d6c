"""The results as tables, for the report and for Markdown."""

from dipy_vqvae.experiment.arms import LABELS
from dipy_vqvae.experiment.settings import N_TRAIN_RATED
from dipy_vqvae.report import MISSING, Table, number, percent, seconds, threads

# Reported values, not measured by this package. All are of MNIST at 28 x 28 pixels and
# 7 x 7 codes of K = 128; None where the source has no value.
PUBLISHED = (
    {
        "label": "Keras example, as published",
        "short_label": "Keras example",
        "note": "30 epochs for the VQ-VAE and 30 for the prior",
        "mse_of": "training",
        "bits_of": "validation",
        "mse": 0.0042,
        "bits_per_image": 73.1,
        "n_used": None,
        "perplexity": None,
        "frechet": None,
        "argmax_distinct": None,
    },
    {
        "label": "Original experiment, run as written",
        "short_label": "original, as run",
        "note": (
            "one run on one CPU core, stopped after 22 of 30 epochs (VQ-VAE) and 10 of "
            "30 (prior); Fréchet distance of 4,000 samples in the features of another "
            "classifier, so not comparable"
        ),
        "mse_of": "",
        "bits_of": "",
        "mse": 0.00428,
        "bits_per_image": 76.3,
        "n_used": 63,
        "perplexity": 15.5,
        "frechet": 110.4,
        "argmax_distinct": (1, 10),
    },
)


_REPORTED = "The last two columns are reported values, not measured by this run."


def arm_of(numbers, key):
    """Look up the measures of an arm."""
    return next(arm for arm in numbers["arms"] if arm["key"] == key)


def n_distinct_of(arm):
    """Write how many images of an arm are distinct."""
    return f"{arm['n_distinct']:,} of {arm['n_images']:,}"


def _bits(numbers, kind, part="test"):
    return number(numbers["priors"][kind][part]["bits_per_image"], 1)


_MSE = "MSE, pixels in [0, 1]"
_MEASURES = ("pair distance", "Fréchet", "confidence", "classes")


def _measures(arm):
    return (
        number(arm["mean_pairwise_distance"], 2),
        number(arm["frechet"], 1),
        number(arm["confidence"], 3),
        f"{arm['class_perplexity']:.2f}",
    )


def arms_table(numbers, keys=None):
    """Tabulate the measures of the arms of `keys`, or of all, then with a note."""
    rows = []
    for arm in numbers["arms"]:
        if keys is not None and arm["key"] not in keys:
            continue
        label = LABELS[arm["key"]]
        bits = arm["bits_per_image"] or {}
        rows.append(
            (
                f"{label.numbered_title}, {label.subtitle}",
                f"{arm['n_images']:,}",
                f"{arm['n_distinct']:,}",
                *_measures(arm),
                number(bits.get("gated"), 1),
                number(bits.get("plain"), 1),
                number(arm["mse"], 5),
            )
        )
    bits = ("bits, gated", "bits, plain")
    header = ("arm", "images", "distinct", *_MEASURES, *bits, "MSE")
    return Table(header, rows, "" if keys else _arms_note(numbers))


def _arms_note(numbers):
    accuracy = percent(numbers["classifier_accuracy"]["test"], 2)
    return (
        "Pair distance: mean Euclidean distance between two images of the arm. Fréchet: "
        "distance to the test images in 64 features of a small digit classifier trained "
        f"on MNIST (accuracy on these test images: {accuracy}); it depends on the "
        "number of images. Confidence: mean of the classifier's largest probability. "
        "Classes: effective number of the ten classes it predicts. Bits: code length "
        "per image under the two priors, of at most the first "
        f"{numbers['settings']['n_rated']:,} images. MSE: to the test image that the arm "
        "started from."
    )


def summary_table(numbers):
    """Tabulate the main results, on MNIST beside those of the original experiment."""
    is_mnist = numbers["data"]["name"] == "mnist"
    published = numbers["published"] if is_mnist else []
    header = (numbers["data"]["title"], "this run", *(p["label"] for p in published))
    rows = [
        (name, value, *(_published_cell(values, key) for values in published))
        for name, value, key in _summary_rows(numbers)
    ]
    notes = [f"{p['label']}: {p['note']}." for p in published]
    if notes:
        notes.insert(0, _REPORTED)
    return Table(header, rows, " ".join(notes))


def _summary_rows(numbers):
    """List (name, value, key of the reported values)."""
    quality, codes = numbers["reconstruction"], numbers["codes"]["test"]
    gated, plain = arm_of(numbers, "gated"), arm_of(numbers, "plain")
    argmax = n_distinct_of(arm_of(numbers, "argmax_gated"))
    return [
        ("test MSE, pixels in [0, 1]", number(quality["mse"], 5), "mse"),
        ("test MSE / variance", number(quality["mse_over_variance"], 4), None),
        ("PSNR, dB", number(quality["psnr"], 2), None),
        ("SSIM", number(quality["ssim"], 3), None),
        (
            f"codes used, of {numbers['codes']['n_codes']}",
            f"{codes['n_used']}",
            "n_used",
        ),
        ("perplexity of the codes", f"{codes['perplexity']:.1f}", "perplexity"),
        ("bits per image, gated prior", _bits(numbers, "gated"), None),
        ("bits per image, plain prior", _bits(numbers, "plain"), "bits_per_image"),
        ("distinct samples, gated prior", n_distinct_of(gated), None),
        ("distinct without the sampling layer", argmax, "argmax_distinct"),
        ("Fréchet distance, gated prior", number(gated["frechet"], 1), None),
        ("Fréchet distance, plain prior", number(plain["frechet"], 1), "frechet"),
        ("time, whole run", seconds(numbers["seconds"]), None),
        ("peak memory, GiB", number(numbers["peak_memory_gib"], 2), None),
    ]


def _published_cell(values, key):
    if values.get(key) is None:
        return MISSING
    if key == "argmax_distinct":
        return "{} of {}".format(*values[key])
    note = {
        "frechet": "other features",
        "mse": values["mse_of"],
        "bits_per_image": values["bits_of"],
    }.get(key)
    return f"{values[key]:g}" + (f" ({note})" if note else "")


def reconstruction_table(numbers):
    """Tabulate distortion, code usage and rate on training and test images."""
    quality, codes = numbers["reconstruction"], numbers["codes"]
    train, test = codes["train"], codes["test"]
    grid = " × ".join(map(str, codes["grid_shape"]))
    uniform = number(numbers["independent_bits"]["uniform"], 1)
    bits = (_bits(numbers, "gated", part) for part in ("train", "test"))
    rows = [
        (_MSE, number(quality["train_mse"], 5), number(quality["mse"], 5)),
        ("MSE / variance", MISSING, percent(quality["mse_over_variance"])),
        ("PSNR, dB", MISSING, number(quality["psnr"], 2)),
        ("SSIM", MISSING, number(quality["ssim"], 3)),
        (
            f"codes used, of {codes['n_codes']}",
            f"{train['n_used']}",
            f"{test['n_used']}",
        ),
        ("perplexity", number(train["perplexity"], 1), number(test["perplexity"], 1)),
        ("bits per image, uniform codes", uniform, uniform),
        ("bits per image, gated prior", *bits),
    ]
    return Table(
        ("", "training", "test"),
        rows,
        f"{grid} codes per image. PSNR and SSIM: means over the images. MSE and bits of "
        f"training images: {_n_train_rated(numbers)}.",
    )


def _n_train_rated(numbers):
    n = min(N_TRAIN_RATED, numbers["data"]["n_train"])
    return f"the first {n:,} training images"


def rate_distortion_table(numbers):
    """Tabulate rate and distortion at several rate weights."""
    names = {0: "0 (nearest codes)", 1: "1 (as trained)"}
    rows = [
        (
            names.get(point["price"], f"{point['price']:g}"),
            number(point["mse"], 5),
            number(point["bits_per_image"], 1),
        )
        for point in numbers["rate_distortion"]
    ]
    n = min(numbers["settings"]["n_rated"], numbers["data"]["n_test"])
    return Table(
        ("rate weight, relative to training", "MSE", "bits per image"),
        rows,
        "The same models at other rate weights λ: each encoder output takes the code that "
        "minimises d² − λ log p, without refinement. Bits under the gated prior, "
        f"{n:,} test images.",
    )


def priors_table(numbers):
    """Tabulate code lengths under both priors and without a prior."""
    independent = numbers["independent_bits"]
    rows = [
        (f"{name}, independent codes", MISSING, MISSING, number(independent[key], 1))
        for name, key in (
            ("uniform", "uniform"),
            ("frequencies", "unigram"),
            ("frequencies by position", "position_unigram"),
        )
    ]
    for kind, sets in numbers["priors"].items():
        rows.append(
            (
                f"{kind} PixelCNN",
                number(sets["test"]["nats_per_code"], 4),
                _bits(numbers, kind, "train"),
                _bits(numbers, kind),
            )
        )
    return Table(
        ("prior", "nats per code, test", "bits per image, training", "test"),
        rows,
        f"Training: {_n_train_rated(numbers)}.",
    )


def sampling_layer_table(numbers):
    """Tabulate two draws of the sampling layer at several temperatures."""
    layer = numbers["sampling_layer"]
    shares = {
        "equal codes": "equal_codes",
        "expected": "expected_equal_codes",
        "identical images": "identical_images",
        "nearest codes": "nearest_codes",
    }
    errors = {
        "MSE, draw 1": "mse",
        "MSE, draw 2": "mse_second",
        "MSE between": "mse_between",
    }
    rows = []
    for row in layer["draws"]:
        sign = "−" if row["favour"] == "nearest" else "+"
        name = (
            f"{sign}d²/τ, τ = {row['tau']:g}" if row["tau"] else "nearest codes (τ → 0)"
        )
        cells = (percent(row[key]) for key in shares.values())
        rows.append((name, *cells, *(number(row[key], 5) for key in errors.values())))
    distances = layer["squared_distances"]
    return Table(
        ("logits", *shares, *errors),
        rows,
        f"Two draws for {layer['n_images']:,} test images. Expected: mean of Σ p², the "
        "probability of equal codes. MSE: to the image, and between the draws. Squared "
        f"distance d² of the encoder output, mean: {distances['nearest']:.3g} to the "
        f"nearest codebook vector, {distances['average']:.3g} to all. Nearest among the "
        f"codes that the model chooses: {percent(layer['model_codes_nearest'])}.",
    )


def temperatures_table(numbers):
    """Tabulate samples of the gated prior by temperature."""
    rows = [
        (
            f"{row['temperature']:g}",
            n_distinct_of(row),
            *_measures(row),
            number(row["bits_per_image"], 1),
        )
        for row in numbers["temperatures"]
    ]
    return Table(("temperature", "distinct", *_MEASURES, "bits"), rows)


def canvas_table(numbers):
    """Tabulate the codes equal to those drawn from an empty canvas."""
    kinds = numbers["canvas"]["equal_codes"]
    names = {
        "training image": "codes of a training image",
        "random codes": "random codes",
        "sampler": "this package's sampler",
        "other seed": "empty canvas, other seed",
    }
    rows = [
        (text, *(percent(equal[name], 2) for equal in kinds.values()))
        for name, text in names.items()
    ]
    header = ("initial canvas", *(f"equal codes, {kind} prior" for kind in kinds))
    note = "Compared with codes drawn from an empty canvas with the same seed."
    return Table(header, rows, f"{note} {numbers['canvas']['n_images']} images.")


def memorisation_table(numbers):
    """Tabulate distances to the nearest training image."""
    memorisation = numbers["memorisation"]
    columns = (memorisation["samples"], memorisation["reconstructed_test_images"])
    rows = [
        (
            f"distance to the nearest training image, {name}",
            *(number(distances[name], 2) for distances in columns),
        )
        for name in ("mean", "median", "min")
    ]
    copies = (percent(share) for share in memorisation["copied_codes"].values())
    rows.append(("codes equal to those of a training image", *copies))
    return Table(
        ("", "samples, gated prior", "reconstructed test images"),
        rows,
        f"Euclidean distance, first {memorisation['n_images']:,} images each.",
    )


def latents_table(numbers):
    """Tabulate what the latents of the Gaussian VAE and the codes carry."""
    vae, codes = numbers["gaussian_vae"], numbers["codes"]
    test, kl = codes["test"], vae["kl_per_latent"]
    variance = vae["pixel_variance"]
    variance = "maximum likelihood" if variance is None else f"{variance:g}"
    rows = [
        ("latents; codes", f"{vae['n_latents']:,}", f"{codes['n_codes']:,}"),
        ("active latents; codes used", f"{vae['n_active']:,}", f"{test['n_used']:,}"),
        ("perplexity of the codes", MISSING, f"{test['perplexity']:.1f}"),
        ("bits per image", number(vae["bits_per_image"], 1), _bits(numbers, "gated")),
        (_MSE, number(vae["mse"], 5), number(numbers["reconstruction"]["mse"], 5)),
        *(
            (f"KL divergence per latent, {name}, nats", number(kl[name], 3), MISSING)
            for name in ("mean", "median", "max")
        ),
        ("latents below 0.01 nats", f"{vae['n_below_0.01_nats']:,}", MISSING),
        ("variance of the pixels", variance, MISSING),
    ]
    return Table(
        ("", "Gaussian VAE", "VQ-VAE"),
        rows,
        "The Gaussian VAE has the encoder and decoder of the VQ-VAE; its MSE is that of "
        "the posterior means, its bits are the KL divergence from N(0, 1). How many "
        "latents collapse depends on the variance of the pixels.",
    )


def training_table(numbers):
    """Tabulate size and training time of the networks."""
    names = {
        "vqvae": "VQ-VAE",
        "gated_prior": "gated PixelCNN",
        "plain_prior": "plain PixelCNN",
        "gaussian_vae": "Gaussian VAE",
    }
    rows = []
    for key, name in names.items():
        training = numbers["training"][key]
        rows.append(
            (
                name,
                f"{training['n_parameters']:,}",
                f"{training['n_epochs']:g}",
                seconds(training["seconds"]),
            )
        )
    return Table(("network", "parameters", "epochs", "training"), rows)


def stages_table(numbers):
    """Tabulate the time of each stage."""
    rows = [(stage["name"], seconds(stage["seconds"])) for stage in numbers["stages"]]
    rows.append(("whole run", seconds(numbers["seconds"])))
    return Table(("stage", "time"), rows)


def results_markdown(numbers):
    """Write summary and arms as Markdown, for a README."""
    data, machine = numbers["data"], numbers["machine"]
    conditions = (
        f"{data['title']}: {data['n_train']:,} training and {data['n_test']:,} test "
        f"images; {numbers['settings']['name']} settings, seed "
        f"{numbers['random_seed']}; {seconds(numbers['seconds'])} on "
        f"{threads(machine['n_threads'])} ({machine['device']}), peak memory "
        f"{number(numbers['peak_memory_gib'], 2)} GiB; dipy_vqvae "
        f"{machine['dipy_vqvae']}, torch {machine['packages']['torch']}.\n"
    )
    tables = (summary_table(numbers), arms_table(numbers))
    return "\n".join([*(table.to_markdown() for table in tables), conditions])
