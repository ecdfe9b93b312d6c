"""Compare the results of two versions of the package, array by array.

``record FOLDER`` fits small models with fixed seeds, uses them and keeps a digest of
every array and the files. ``check FOLDER`` does the same with the version at hand,
names each array that differs, and reads the files of the recorded version. Both have
to run on one machine: digests are of exact bits.
"""

import argparse
import contextlib
import hashlib
import io
import json
from pathlib import Path
import sys
import tempfile

import nibabel as nib
import numpy as np
import torch

import dipy_vqvae as dv
from dipy_vqvae.workflows import cli


def digest(array):
    """Return a digest of an array's type, shape and bytes."""
    array = np.ascontiguousarray(array)
    content = f"{array.dtype.str}{array.shape}".encode() + array.tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def digests(results):
    """Return the digests of named arrays."""
    return {name: digest(array) for name, array in results}


def shapes_and_noise(shape, n, seed):
    """Make images of bright boxes on a noisy ramp, uint16."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 300, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    images = rng.normal(500, 20, (n, *shape)) + ramp
    for image in images:
        low = rng.integers(0, np.array(shape) // 2)
        size = rng.integers(3, np.array(shape) // 2)
        image[tuple(map(slice, low, low + size))] += rng.uniform(200, 900)
    return images.astype(np.uint16)


def slices_with_rate(folder):
    """Fit a 2D model with a price on code length, refinement and decoder epochs."""
    images = shapes_and_noise((22, 18), 60, seed=1)
    model = dv.VQVAEModel(
        n_codes=16,
        code_dim=4,
        n_channels=8,
        n_blocks=1,
        rate_weight=0.05,
        n_refinements=2,
        random_seed=3,
    )
    fit = model.fit(
        images[:48], validation_images=images[48:], n_epochs=2, n_decoder_epochs=1
    )
    fit.save(folder / "slices.safetensors")
    yield from vqvae_results(fit, images[48:])


def strided_slices(folder):
    """Fit the original experiment's networks, absolute error, codes by gradient."""
    images = shapes_and_noise((16, 16), 40, seed=2)
    model = dv.VQVAEModel(
        n_codes=12,
        code_dim=4,
        n_channels=8,
        architecture="strided",
        codebook="gradient",
        loss="mae",
        scaling="percentile",
    )
    fit = model.fit(images, n_epochs=2, optimizer="adam", learning_rate=2e-3)
    fit.save(folder / "strided.safetensors")
    yield from vqvae_results(fit, images)


def masked_volumes(folder):
    """Fit a 3D model to volumes of two shapes with masks, each scaled by itself."""
    volumes = [
        shapes_and_noise(shape, 1, seed=i)[0]
        for i, shape in enumerate([(12, 10, 8), (12, 12, 9)] * 6)
    ]
    masks = [volume > 520 for volume in volumes]
    model = dv.VQVAEModel(
        n_codes=12,
        code_dim=4,
        spatial_dims=3,
        downsampling=(4, 4, 2),
        n_channels=8,
        n_blocks=(1, 2),
        n_hidden=4,
        scaling="volume",
    )
    fit = model.fit(volumes, mask=masks, n_epochs=3, schedule="linear")
    fit.save(folder / "volumes.safetensors")
    yield from vqvae_results(fit, volumes, mask=masks)


def vqvae_results(fit, images, **mask):
    """Give the weights of a fit, codes and reconstructions."""
    for name, tensor in fit.net.state_dict().items():
        yield f"weight {name}", tensor.numpy()
    yield "losses", np.array(fit.history["loss"])
    codes = fit.encode(images, **mask)
    as_list = isinstance(codes, list)
    for i, grid in enumerate(codes if as_list else [codes]):
        yield f"codes {i}", grid
    predicted = fit.predict(images, **mask)
    for i, image in enumerate(predicted if as_list else [predicted]):
        yield f"prediction {i}", image
    yield "decoded", fit.decode(codes[0][None] if as_list else codes)


def gated_prior(folder):
    """Fit a gated prior with labels and masks."""
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 12, (64, 6, 5)) // rng.integers(1, 4, (64, 1, 1))
    labels = rng.integers(0, 3, 64)
    mask = np.ones((6, 5), bool)
    mask[0, :2] = mask[5, 4] = False
    prior = dv.PixelCNNModel(n_codes=12, n_channels=8, n_layers=2, dropout=0.1).fit(
        codes, mask=mask, labels=labels, n_epochs=2, average_decay=0.9
    )
    prior.save(folder / "gated.safetensors")
    known = {"mask": mask, "labels": labels[:16]}
    yield from prior_results(prior, codes[:16], **known)
    yield "class 2", prior.sample(4, labels=2, mask=mask, temperature=0.7)


def plain_prior(folder):
    """Fit the original experiment's prior."""
    codes = np.random.default_rng(6).integers(0, 8, (50, 5, 7))
    prior = dv.PixelCNNModel(n_codes=8, kind="plain", n_channels=8, n_layers=1).fit(
        codes, n_epochs=2, weight_decay=0.01
    )
    prior.save(folder / "plain.safetensors")
    yield from prior_results(prior, codes[:16])
    keep = np.zeros((5, 7), bool)
    keep[:2] = True
    yield "completed", prior.sample(16, codes=codes[:16], keep=keep)


def prior_of_volumes(folder):
    """Fit a gated prior to grids of two shapes with three axes."""
    rng = np.random.default_rng(7)
    codes = [rng.integers(0, 6, shape) for shape in [(3, 4, 3), (4, 3, 2)] * 10]
    prior = dv.PixelCNNModel(n_codes=6, n_channels=8, n_layers=1).fit(
        codes, spatial_dims=3, n_epochs=2
    )
    prior.save(folder / "gated3d.safetensors")
    yield "log_prob", prior.log_prob(codes)
    yield "samples", prior.sample(8, random_seed=2)


def prior_results(prior, codes, **known):
    """Give the weights of a prior, likelihoods and samples."""
    for name, tensor in prior.net.state_dict().items():
        yield f"weight {name}", tensor.numpy()
    yield "log_prob", prior.log_prob(codes, **known)
    yield "probabilities", prior.predict(codes, **known)
    yield "samples", prior.sample(len(codes), random_seed=4, **known)


def commands(folder):
    """Fit, encode, decode, reconstruct and sample at the command line."""
    scans = folder / "scans"
    scans.mkdir()
    affine = np.diag([1.5, 2.0, 3.0, 1.0])
    for i in range(4):
        volume = shapes_and_noise((20, 16, 8), 1, seed=20 + i)[0]
        nib.save(nib.Nifti1Image(volume, affine), scans / f"sub-{i}.nii.gz")
    out = str(folder / "out")
    images, model, prior = str(scans), f"{out}/vqvae.safetensors", f"{out}/pixelcnn"
    prior = f"{prior}.safetensors"
    small = ["--n_epochs", "2", "--n_channels", "8", "--log_level", "ERROR"]
    small += ["--out_report", "None", "--out_dir", out]
    quiet = ["--log_level", "ERROR", "--out_dir"]
    run("fit_vqvae", images, "--n_codes", "8", "--validation_fraction", "0.25", *small)
    run("fit_pixelcnn", model, images, "--n_layers", "1", *small)
    run("encode_vqvae", model, images, *quiet, f"{out}/codes")
    run("decode_vqvae", model, f"{out}/codes", *quiet, f"{out}/decoded")
    run("reconstruct_vqvae", model, images, *quiet, f"{out}/reconstructed")
    run("sample_vqvae", model, prior, "--n_samples", "6", *quiet, f"{out}/samples")
    for path in sorted(Path(out).rglob("*.nii.gz")):
        image = nib.load(path)
        yield f"{path.relative_to(out)}", np.asanyarray(image.dataobj)
        yield f"{path.relative_to(out)} affine", image.affine


def run(command, *arguments):
    """Run a command in this process."""
    kept = sys.argv
    sys.argv = [f"dipy_{command}", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            getattr(cli, command)()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{sys.argv} ended with {end.code}") from end
    finally:
        sys.argv = kept


def files_read(folder):
    """Read the files that a version has written, and use what is in them."""
    images = shapes_and_noise((22, 18), 12, seed=8)
    for name in ("slices", "strided"):
        fit = dv.VQVAEFit.load(folder / f"{name}.safetensors")
        yield f"{name} codes", fit.encode(images)
        yield f"{name} prediction", fit.predict(images)
    fit = dv.VQVAEFit.load(folder / "volumes.safetensors")
    yield "volumes codes", fit.encode(shapes_and_noise((12, 10, 8), 2, seed=9))
    prior = dv.PixelCNNFit.load(folder / "gated.safetensors")
    yield "gated samples", prior.sample(8, labels=1)
    for name in ("plain", "gated3d"):
        prior = dv.PixelCNNFit.load(folder / f"{name}.safetensors")
        yield f"{name} samples", prior.sample(8)
    out = folder / "out"
    decoded = str(folder / "decoded_again")
    model, codes = str(out / "vqvae.safetensors"), str(out / "codes")
    quiet = ["--force", "--log_level", "ERROR"]
    run("decode_vqvae", model, codes, "--out_dir", decoded, *quiet)
    for path in sorted(Path(decoded).rglob("*.nii.gz")):
        yield f"decoded {path.name}", np.asanyarray(nib.load(path).dataobj)


CASES = (
    slices_with_rate,
    strided_slices,
    masked_volumes,
    gated_prior,
    plain_prior,
    prior_of_volumes,
    commands,
)


def all_digests(folder):
    """Run all cases in a new folder and return the digests by case and array."""
    folder.mkdir(parents=True)
    return {case.__name__: digests(case(folder)) for case in CASES}


def differences(before, after):
    """Name the arrays whose digests differ."""
    for case in sorted({*before, *after}):
        old, new = before.get(case, {}), after.get(case, {})
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                yield f"{case}: {name}"


def main():
    """Record the results of this version, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["record", "check"])
    parser.add_argument("folder", type=Path, help="where the recorded results are")
    parser.add_argument("--work", type=Path, help="folder for the results checked")
    args = parser.parse_args()
    torch.set_num_threads(1)
    record = args.folder / "digests.json"
    if args.action == "record":
        found = all_digests(args.folder / "files")
        found["files"] = digests(files_read(args.folder / "files"))
        record.write_text(json.dumps(found, indent=1))
        print(f"recorded {sum(map(len, found.values()))} arrays")
        return 0
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        found = all_digests(Path(folder) / "files")
    found["files"] = digests(files_read(args.folder / "files"))
    different = list(differences(json.loads(record.read_text()), found))
    for name in different:
        print(f"differs: {name}")
    n = sum(map(len, found.values()))
    print(f"{n - len(different)} of {n} arrays are equal")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
