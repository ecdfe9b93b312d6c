"""The results as tables, for the report and for Markdown."""

from dipy_vqvae.experiment.arms import LABELS
from dipy_vqvae.report import MISSING, Table, number, percent, seconds, threads


def arms_table(numbers):
    """All arms and what they were measured by."""
    rows = []
    for arm in numbers["arms"]:
        label = LABELS[arm["key"]]
        prefix = "" if label.number is None else f"{label.number} "
        bits = arm["bits_per_image"] or {}
        rows.append(
            (
                f"{prefix}{label.title}, {label.subtitle}",
                f"{arm['n_images']:,}",
                f"{arm['n_distinct']:,}",
                number(arm["mean_pairwise_distance"], 2),
                number(arm["frechet"], 1),
                number(arm["confidence"], 3),
                f"{arm['class_perplexity']:.2f}",
                number(bits.get("gated"), 1),
                number(bits.get("plain"), 1),
                number(arm["mse"], 5),
            )
        )
    accuracy = percent(numbers["classifier_accuracy"]["test"], 2)
    return Table(
        (
            "arm",
            "images",
            "distinct",
            "pair distance",
            "Fréchet",
            "confidence",
            "classes",
            "bits, gated",
            "bits, plain",
            "MSE",
        ),
        rows,
        "Pair distance: mean Euclidean distance between two images. Fréchet: distance "
        "to the test images in 64 features of a small digit classifier trained on "
        f"MNIST, whose accuracy on these test images is {accuracy}; it depends on the "
        "number of images. Confidence: its mean largest probability. Classes: "
        "effective number of the ten digits it sees. Bits: code length per image "
        f"under the two priors, of the first {numbers['settings']['n_rated']:,} images "
        "at most. MSE: to the image that the arm started from.",
    )


def summary_table(numbers):
    """The main figures, and those of the original beside them."""
    quality, codes = numbers["reconstruction"], numbers["codes"]
    priors, gated = numbers["priors"], _arm(numbers, "gated")
    argmax = _arm(numbers, "argmax_gated")
    beside = _published(numbers)
    test = {kind: priors[kind]["test"] for kind in priors}
    total = f"of {codes['n_codes']}"
    rows = [
        ("test MSE, pixels in [0, 1]", number(quality["mse"], 5), "mse"),
        ("test MSE / variance", number(quality["mse_over_variance"], 4), None),
        ("PSNR, dB", number(quality["psnr"], 2), None),
        ("SSIM", number(quality["ssim"], 3), None),
        (f"codes used, {total}", str(codes["test"]["n_used"]), "n_used"),
        ("perplexity of the codes", f"{codes['test']['perplexity']:.1f}", "perplexity"),
        (
            "bits per image, gated prior",
            number(test["gated"]["bits_per_image"], 1),
            None,
        ),
        (
            "bits per image, plain prior",
            number(test["plain"]["bits_per_image"], 1),
            "bits_per_image",
        ),
        (
            "distinct samples, gated prior",
            f"{gated['n_distinct']:,} of {gated['n_images']:,}",
            None,
        ),
        (
            "distinct without the sampling layer",
            f"{argmax['n_distinct']} of {argmax['n_images']}",
            "argmax_distinct",
        ),
        ("Fréchet distance, gated prior", number(gated["frechet"], 1), None),
        (
            "Fréchet distance, plain prior",
            number(_arm(numbers, "plain")["frechet"], 1),
            "frechet",
        ),
        ("time, whole run", seconds(numbers["seconds"]), None),
        ("peak memory, GiB", number(numbers["peak_memory_gib"], 2), None),
    ]
    title = numbers["data"]["title"]
    header = (title, "this run", *(p["label"] for p in beside))
    filled = [
        (name, value, *(_published_cell(p, key) for p in beside))
        for name, value, key in rows
    ]
    notes = " ".join(f"{p['label']}: {p['note']}." for p in beside)
    if notes:
        notes = f"What stands beside this run was measured elsewhere. {notes}"
    return Table(header, filled, notes)


def _arm(numbers, key):
    return next(arm for arm in numbers["arms"] if arm["key"] == key)


def _published(numbers):
    return numbers["published"] if numbers["data"]["name"] == "mnist" else []


def _published_cell(figures, key):
    value = None if key is None else figures[key]
    if value is None:
        return MISSING
    if key == "argmax_distinct":
        return f"{value[0]} of {value[1]}"
    notes = {
        "frechet": "other features",
        "mse": figures["mse_of"],
        "bits_per_image": figures["bits_of"],
    }
    return f"{value:g}" + (f" ({notes[key]})" if notes.get(key) else "")


def reconstruction_table(numbers):
    """Codes on training and test images."""
    codes = numbers["codes"]
    quality = numbers["reconstruction"]
    rows = [
        (
            "MSE, pixels in [0, 1]",
            number(quality["train_mse"], 5),
            number(quality["mse"], 5),
        ),
        *(
            (name, show(codes["train"][key]), show(codes["test"][key]))
            for name, key, show in (
                (f"codes used, of {codes['n_codes']}", "n_used", str),
                ("perplexity", "perplexity", lambda v: number(v, 1)),
            )
        ),
    ]
    return Table(("", "training", "test"), rows)


def rate_distortion_table(numbers):
    """Codes chosen at several prices of their length."""
    rows = [
        (_price(p["price"]), number(p["mse"], 5), number(p["bits_per_image"], 1))
        for p in numbers["rate_distortion"]
    ]
    return Table(
        ("price of code length", "MSE", "bits per image"),
        rows,
        "The same models at other prices λ of code length: a vector gets the code that "
        "minimises d² − λ log p, where 0 gives the nearest code, and no code is "
        f"refined. Bits under the gated prior, {_n_rated(numbers):,} test images.",
    )


def _price(factor):
    names = {0: "0 (nearest codes)", 1: "1 (as trained)"}
    return names.get(factor, f"{factor:g} times")


def _n_rated(numbers):
    return min(numbers["settings"]["n_rated"], numbers["data"]["n_test"])


def priors_table(numbers):
    """Code lengths under both priors and without one."""
    rows = [
        (f"{name}, independent codes", MISSING, MISSING, number(bits, 1))
        for name, bits in (
            ("uniform", numbers["independent_bits"]["uniform"]),
            ("frequencies", numbers["independent_bits"]["unigram"]),
            (
                "frequencies by position",
                numbers["independent_bits"]["position_unigram"],
            ),
        )
    ]
    for kind, sets in numbers["priors"].items():
        rows.append(
            (
                f"{kind} PixelCNN",
                number(sets["test"]["nats_per_code"], 4),
                number(sets["train"]["bits_per_image"], 1),
                number(sets["test"]["bits_per_image"], 1),
            )
        )
    return Table(
        ("prior", "nats per code, test", "bits per image, training", "test"),
        rows,
        "Training: the first 10,000 training images at most.",
    )


def sampling_layer_table(numbers):
    """The sampling layer alone."""
    layer = numbers["sampling_layer"]
    rows = []
    for row in layer["draws"]:
        sign = "−" if row["favour"] == "nearest" else "+"
        name = (
            f"{sign}d²/τ, τ = {row['tau']:g}" if row["tau"] else "nearest codes (τ → 0)"
        )
        rows.append(
            (
                name,
                percent(row["equal_codes"]),
                percent(row["expected_equal_codes"]),
                percent(row["identical_images"]),
                percent(row["nearest_codes"]),
                number(row["mse"], 5),
                number(row["mse_second"], 5),
                number(row["mse_between"], 5),
            )
        )
    return Table(
        (
            "logits",
            "equal codes",
            "expected",
            "identical images",
            "nearest codes",
            "MSE, draw 1",
            "MSE, draw 2",
            "MSE between",
        ),
        rows,
        f"Two draws for {layer['n_images']:,} test images. Expected: from the "
        "probabilities themselves, the mean of Σ p². MSE to the image and between the "
        "two draws.",
    )


def temperatures_table(numbers):
    """The gated prior from argmax to sampling."""
    rows = [
        (
            f"{row['temperature']:g}",
            f"{row['n_distinct']:,} of {row['n_images']:,}",
            number(row["mean_pairwise_distance"], 2),
            number(row["frechet"], 1),
            number(row["confidence"], 3),
            f"{row['class_perplexity']:.2f}",
            number(row["bits_per_image"], 1),
        )
        for row in numbers["temperatures"]
    ]
    return Table(
        (
            "temperature",
            "distinct",
            "pair distance",
            "Fréchet",
            "confidence",
            "classes",
            "bits",
        ),
        rows,
    )


def canvas_table(numbers):
    """Codes equal to those drawn from an empty canvas."""
    kinds = numbers["canvas"]["equal_codes"]
    names = {
        "training image": "from a training image's codes",
        "random codes": "from random codes",
        "sampler": "this package's sampler",
        "other seed": "empty canvas, other random numbers",
    }
    rows = [
        (text, *(percent(equal[name], 2) for equal in kinds.values()))
        for name, text in names.items()
    ]
    return Table(
        ("codes equal to those from an empty canvas", *(f"{k} prior" for k in kinds)),
        rows,
    )


def training_table(numbers):
    """Parameters and times of the trainings."""
    names = {
        "vqvae": "VQ-VAE",
        "gated_prior": "gated PixelCNN",
        "plain_prior": "plain PixelCNN",
        "gaussian_vae": "Gaussian VAE",
    }
    rows = [
        (
            text,
            f"{numbers['training'][key]['n_parameters']:,}",
            f"{numbers['training'][key]['n_epochs']:g}",
            seconds(numbers["training"][key]["seconds"]),
        )
        for key, text in names.items()
    ]
    return Table(("network", "parameters", "epochs", "training"), rows)


def stages_table(numbers):
    """Seconds of each stage."""
    rows = [(stage["name"], seconds(stage["seconds"])) for stage in numbers["stages"]]
    rows.append(("whole run", seconds(numbers["seconds"])))
    return Table(("stage", "time"), rows)


TABLES = {
    "reconstruction": reconstruction_table,
    "rate_distortion": rate_distortion_table,
    "priors": priors_table,
    "sampling_layer": sampling_layer_table,
    "temperatures": temperatures_table,
    "canvas": canvas_table,
}


def results_markdown(numbers):
    """The tables that a README can quote."""
    data, machine = numbers["data"], numbers["machine"]
    memory = numbers["peak_memory_gib"]
    return "\n".join(
        [
            summary_table(numbers).to_markdown(),
            arms_table(numbers).to_markdown(),
            (
                f"{data['title']}: {data['n_train']:,} training and "
                f"{data['n_test']:,} test images; {numbers['settings']['name']} "
                "settings, seed "
                f"{numbers['random_seed']}; {seconds(numbers['seconds'])} on "
                f"{threads(machine['n_threads'])} ({machine['device']}), peak memory "
                f"{number(memory, 2)} GiB; dipy_vqvae {machine['dipy_vqvae']}, torch "
                f"{machine['packages']['torch']}.\n"
            ),
        ]
    )
