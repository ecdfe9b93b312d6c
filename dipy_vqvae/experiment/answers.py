"""The experiment's questions, answered in words that follow from the numbers."""

from dataclasses import dataclass

from dipy_vqvae.report import number, percent, times

# Two draws that agree in this share of the codes are called nearly deterministic.
NEARLY = 0.9


@dataclass(frozen=True)
class Answer:
    """A question of the experiment and its answer.

    Attributes
    ----------
    number : int
    question, verdict : str
        A sentence each.
    paragraphs : tuple of str
        The reasons.
    figures : tuple of str
        File names of the figures that show it.
    tables : tuple of str
        Names of the tables that go with it.
    """

    number: int
    question: str
    verdict: str
    paragraphs: tuple
    figures: tuple = ()
    tables: tuple = ()


def answer_all(numbers):
    """Answer the six questions.

    Parameters
    ----------
    numbers : dict
        The results.

    Returns
    -------
    answers : list of Answer
    """
    return [answer(numbers) for answer in (_one, _two, _three, _four, _five, _six)]


def _arm(numbers, key):
    return next(arm for arm in numbers["arms"] if arm["key"] == key)


def _one(numbers):
    quality, codes = numbers["reconstruction"], numbers["codes"]
    bits = numbers["priors"]["gated"]["test"]["bits_per_image"]
    uniform = numbers["independent_bits"]["uniform"]
    grid = " × ".join(map(str, codes["grid_shape"]))
    verdict = (
        f"The mean squared error on the test images is {number(quality['mse'], 5)} "
        f"({percent(quality['mse_over_variance'])} of the variance), with "
        f"{codes['test']['n_used']} of {codes['n_codes']} codes in use."
    )
    survives = (
        f"Each image becomes a grid of {grid} codes and is decoded from nothing else: "
        f"{uniform:.0f} bits if all codes were equally likely, {bits:.1f} bits under "
        f"the gated prior. PSNR is {number(quality['psnr'], 2)} dB and SSIM "
        f"{number(quality['ssim'], 3)}, means over the test images; on training "
        f"images the error is {number(quality['train_mse'], 5)}. The perplexity of "
        f"the codes on the test images is {codes['test']['perplexity']:.1f}: that "
        "many equally frequent codes would carry as much."
    )
    return Answer(
        1,
        "Encoder, codebook, decoder: how much of an image survives?",
        verdict,
        (survives, *_beside_the_original(numbers)),
        ("code_maps.png", "rate_distortion.png"),
        ("reconstruction", "rate_distortion"),
    )


def _beside_the_original(numbers):
    """One paragraph for MNIST, none for other digits."""
    if numbers["data"]["name"] != "mnist":
        return ()
    original = next(p for p in numbers["published"] if p["n_used"] is not None)
    mse = numbers["reconstruction"]["mse"]
    bits = numbers["priors"]["gated"]["test"]["bits_per_image"]
    error = "less" if mse < original["mse"] else "more"
    rate = "fewer" if bits < original["bits_per_image"] else "more"
    joined = "and" if (error == "less") == (rate == "fewer") else "but"
    n_test = numbers["data"]["n_test"]
    return (
        f"The original experiment, run as written, reached {original['mse']:.5f} and "
        f"{original['bits_per_image']:.1f} bits on the 10,000 test images, with "
        f"{original['n_used']} codes in use at a perplexity of "
        f"{original['perplexity']:.1f}: this run has {error} error {joined} {rate} bits"
        + ("." if n_test == 10_000 else f", on the first {n_test:,} of them.")
        + " Less error alone would be no gain: it can be bought with bits.",
    )


def _two(numbers):
    layer = numbers["sampling_layer"]
    shown = layer["shown_tau"]
    draws = {(row["favour"], row["tau"]): row for row in layer["draws"]}
    near, far = draws["nearest", shown], draws["farthest", shown]
    exact = draws["nearest", 0.0]
    agree = (
        f"two draws at τ = {shown:g} agree in {percent(near['equal_codes'])} of the "
        f"codes, and {percent(near['identical_images'])} of the images come out "
        "identical"
    )
    if near["equal_codes"] == 1:
        verdict = f"Yes, as far as can be seen: {agree}."
    elif near["equal_codes"] >= NEARLY:
        verdict = f"Not literally, but nearly: {agree}."
    else:
        verdict = f"No: {agree}."
    distances = layer["squared_distances"]
    by_tau = [
        row for row in layer["draws"] if row["favour"] == "nearest" and row["tau"]
    ]
    steps = ", ".join(
        f"{percent(row['equal_codes'])} at τ = {row['tau']:g}" for row in by_tau
    )
    scale = (
        "How deterministic it looks is a matter of scale. The squared distance of the "
        f"encoder's vectors is {distances['nearest']:.3g} to the nearest code and "
        f"{distances['average']:.3g} to the average one; where τ is small against "
        "their difference, the softmax is saturated and the nearest code nearly "
        f"always drawn. Equal codes of two draws: {steps}. The limit τ → 0 is the "
        "nearest code, without chance. The error is "
        f"{number(near['mse'], 5)} at τ = {shown:g}, against {number(exact['mse'], 5)} "
        "for the nearest codes."
    )
    if layer["model_codes_nearest"] < 1:
        scale += (
            " The model itself weighs distance against code length: "
            f"{percent(layer['model_codes_nearest'])} of the codes that it chooses are "
            "the nearest."
        )
    ratio = far["mse"] / exact["mse"]
    sign = (
        "The original notebook passed the distances themselves as logits, which "
        f"favours the farthest code: at τ = {shown:g}, "
        f"{percent(far['nearest_codes'])} of the codes drawn are the nearest, and the "
        f"error is {number(far['mse'], 4)}, {times(ratio)} that of the nearest codes; "
        f"two draws agree in {percent(far['equal_codes'])} of the codes."
    )
    either = (
        "Either way the layer decodes an image that was given to it. It varies or "
        "spoils that image; it does not make a new one."
    )
    return Answer(
        2,
        "The sampling layer alone, without a prior: is it deterministic?",
        verdict,
        (scale, sign, either),
        ("sampling_layer.png",),
        ("sampling_layer",),
    )


def _three(numbers):
    keys = ("uniform", "marginal", "position_marginal")
    without = {key: _arm(numbers, key) for key in keys}
    gated = _arm(numbers, "gated")
    best = min(without.values(), key=lambda arm: arm["frechet"])
    ratio = best["frechet"] / gated["frechet"]
    if ratio >= 2:
        verdict = (
            "Yes: the best that was had without one is "
            f"{times(ratio)} as far from the test images as samples of the gated prior."
        )
    elif ratio > 1:
        verdict = (
            "It helps: without one, images are at best "
            f"{times(ratio)} as far from the test images as samples of the gated prior."
        )
    else:
        verdict = (
            "Not by this measure: codes drawn without one give images that are no "
            "farther from the test images than samples of the gated prior."
        )
    bits = numbers["independent_bits"]
    prior_bits = numbers["priors"]["gated"]["test"]["bits_per_image"]
    distances = (
        "Fréchet distance to the test images: "
        f"{number(without['uniform']['frechet'], 1)} for codes drawn uniformly, "
        f"{number(without['marginal']['frechet'], 1)} for codes as frequent as in "
        f"training, {number(without['position_marginal']['frechet'], 1)} for codes as "
        "frequent as in training at each position, "
        f"{number(gated['frechet'], 1)} for samples of the gated prior. All images are "
        "different from each other in every case: chance alone gives variety, and what "
        "it lacks is agreement between neighbouring codes."
    )
    if any(arm["n_distinct"] < arm["n_images"] for arm in (*without.values(), gated)):
        distances = distances.rpartition(" All images")[0]
    knows = (
        "What the prior knows can be counted. A test image takes "
        f"{bits['uniform']:.0f} bits if all codes are equally likely, "
        f"{bits['unigram']:.1f} with their frequencies, "
        f"{bits['position_unigram']:.1f} with their frequencies at each position and "
        f"{prior_bits:.1f} under the gated prior."
    )
    return Answer(
        3,
        "Is prior training required? What if it is not done?",
        verdict,
        (distances, knows),
        (),
        ("priors",),
    )


def _four(numbers):
    found = {kind: _arm(numbers, f"argmax_{kind}") for kind in ("plain", "gated")}
    n = found["gated"]["n_images"]
    counts = {kind: arm["n_distinct"] for kind, arm in found.items()}
    if set(counts.values()) == {1}:
        verdict = f"Yes: {n} draws from each prior give one and the same image."
    else:
        verdict = (
            f"No: {n} draws give {counts['plain']} different images with the plain and "
            f"{counts['gated']} with the gated prior."
        )
    why = (
        "Taking the likeliest code at each position leaves nothing to chance: the "
        "first code is the same for all images, hence the second, and so on. A "
        "prior becomes a generative model by the sampling layer."
    )
    rows = [row for row in numbers["temperatures"] if row["temperature"] > 0]
    steps = ", ".join(
        f"{number(row['frechet'], 1)} at temperature {row['temperature']:g}"
        for row in rows
    )
    between = (
        "There are steps between the two: dividing the logits by a temperature below "
        "1 makes likely codes likelier. Fréchet distance of samples of the gated "
        f"prior: {steps} ({rows[-1]['n_images']:,} images each)."
    )
    return Answer(
        4,
        "PixelCNN without the sampling layer: do all outputs collapse to one?",
        verdict,
        (why, between),
        ("temperatures.png",),
        ("temperatures",),
    )


def _five(numbers):
    gated, plain = _arm(numbers, "gated"), _arm(numbers, "plain")
    train = _arm(numbers, "train")
    ratio = plain["frechet"] / gated["frechet"]
    share = gated["n_distinct"] / gated["n_images"]
    verdict = (
        f"{percent(share)} of {gated['n_images']:,} samples of the gated prior are "
        f"distinct, at a Fréchet distance of {number(gated['frechet'], 1)} to the test "
        f"images; it is {number(plain['frechet'], 1)} for the plain one."
    )
    quality = (
        f"The plain prior's distance is {times(ratio)} the gated one's; "
        f"{train['n_images']:,} real training images have "
        f"{number(train['frechet'], 1)}. The classifier's confidence is "
        f"{number(gated['confidence'], 3)} on the gated prior's samples, "
        f"{number(plain['confidence'], 3)} on the plain one's and "
        f"{number(_arm(numbers, 'test')['confidence'], 3)} on the test images; the ten "
        f"classes have an effective number of {gated['class_perplexity']:.2f}, "
        f"{plain['class_perplexity']:.2f} and "
        f"{_arm(numbers, 'test')['class_perplexity']:.2f}. A sample of the gated prior "
        f"takes {number(gated['bits_per_image']['gated'], 1)} bits under it, a test "
        f"image {number(numbers['priors']['gated']['test']['bits_per_image'], 1)}."
    )
    return Answer(
        5,
        "PixelCNN with the sampling layer: what comes out, and does it matter where "
        "sampling starts?",
        verdict,
        (quality, _canvas(numbers), _memorised(numbers)),
        ("generated.png", "neighbours.png"),
        ("canvas",),
    )


def _canvas(numbers):
    canvas = numbers["canvas"]
    kinds = canvas["equal_codes"]
    starts = ("training image", "random codes")
    shares = [kinds[kind][start] for kind in kinds for start in starts]
    others = " and ".join(percent(kinds[kind]["other seed"]) for kind in kinds)
    if min(shares) == 1:
        begin = (
            "The canvas that sampling starts from has no influence. The original "
            "filled it with the codes of a training image; with the same random "
            f"numbers, {canvas['n_images']} images are the same code for code from an "
            "empty canvas, from a training image's codes and from random codes"
        )
    else:
        begin = (
            "With the same random numbers, the codes drawn from a training image's "
            "codes and from random codes agree with those from an empty canvas in "
            f"{percent(min(shares))} of the positions or more"
        )
    names = " and ".join(kinds)
    return (
        f"{begin}. Other random numbers leave {others} of the codes equal ({names} "
        "prior). A position sees only what was drawn before it; to start from an image "
        "means to keep some of its codes."
    )


def _memorised(numbers):
    found = numbers["memorisation"]
    samples, unseen = found["samples"], found["reconstructed_test_images"]
    copies = found["copied_codes"]
    ratio = samples["mean"] / unseen["mean"]
    begin = "Are samples copies of training images? "
    if ratio > 0.8 and copies["samples"] <= 2 * copies["test_images"] + 0.001:
        begin += "There is no sign of it. "
    return (
        f"{begin}The training image nearest to a sample is "
        f"{number(samples['mean'], 2)} away on average, the one nearest to a "
        f"reconstructed test image {number(unseen['mean'], 2)} (Euclidean distance, "
        f"{found['n_images']:,} images each; the smallest are "
        f"{number(samples['min'], 2)} and {number(unseen['min'], 2)}). "
        f"{percent(copies['samples'])} of the samples have the codes of some "
        "training image throughout; of the test images "
        f"{percent(copies['test_images'])}."
    )


def _six(numbers):
    vae, codes = numbers["gaussian_vae"], numbers["codes"]
    gated, samples = _arm(numbers, "gated"), _arm(numbers, "vae_samples")
    n_idle = vae["n_latents"] - vae["n_active"]
    used = (
        f"{codes['test']['n_used']} of {codes['n_codes']} codes are in use, at a "
        f"perplexity of {codes['test']['perplexity']:.1f}"
    )
    if n_idle / vae["n_latents"] >= 0.1:
        verdict = (
            f"{n_idle} of the Gaussian VAE's {vae['n_latents']} latents have collapsed "
            f"to their prior; of the VQ-VAE, {used}."
        )
    else:
        verdict = (
            "There is little collapse to bypass here: "
            f"{vae['n_active']} of the Gaussian VAE's {vae['n_latents']} latents are "
            f"active. Of the VQ-VAE, {used}."
        )
    kl = vae["kl_per_latent"]
    carries = (
        "The Gaussian VAE has the encoder and the decoder of the VQ-VAE and as many "
        "latents as its vectors have numbers. A latent counts as active where its "
        "posterior mean varies over the test images by more than 0.01. They carry "
        f"{number(kl['mean'], 3)} nats on average (median {number(kl['median'], 3)}, "
        f"largest {number(kl['max'], 2)}, {vae['n_below_0.01_nats']} of them less than "
        f"0.01), {vae['bits_per_image']:.0f} bits per image; "
        f"the VQ-VAE's codes take "
        f"{numbers['priors']['gated']['test']['bits_per_image']:.0f} under its prior. "
        f"Mean squared error: {number(vae['mse'], 5)} from the posterior means, "
        f"{number(numbers['reconstruction']['mse'], 5)} for the VQ-VAE."
    )
    variance = vae["pixel_variance"]
    choice = (
        "the one of maximum likelihood"
        if variance is None
        else f"fixed at {variance:g}"
    )
    caution = (
        "How many latents collapse depends on the variance that a VAE assumes for its "
        f"pixels; here it is {choice}, so that a latent that collapses is not worth "
        "its price to the model. That a VQ-VAE's codes stay in use is not automatic "
        "either: the original's did not, and a codebook needs care of its own."
    )
    if numbers["data"]["name"] != "mnist":
        caution = caution.replace("the original's did not, and a", "a")
    ratio = samples["frechet"] / gated["frechet"]
    drawn = (
        "Its samples from N(0, 1) have a Fréchet distance of "
        f"{number(samples['frechet'], 1)}, {times(ratio)} that of the gated prior's "
        f"({number(gated['frechet'], 1)}): the latents of real images are not "
        "distributed as N(0, 1), and no prior has been fitted to them."
    )
    if ratio <= 1:
        drawn = drawn.partition(":")[0] + "."
    return Answer(
        6,
        "Does the VQ-VAE bypass posterior collapse?",
        verdict,
        (carries, caution, drawn),
        ("codebook_usage.png",),
        (),
    )
