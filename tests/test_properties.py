"""What holds for all shapes, types, masks, codes and seeds, tried on many of them."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import nibabel as nib
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

from dipy_vqvae import PixelCNNModel, VQVAEModel, load_images
from dipy_vqvae.data import IntensityScaling
from dipy_vqvae.storage.model_file import load_model, save_model

N_CODES = 6
TYPES = ["bool", "uint8", "int16", "uint16", "int32", "float32", "float64", ">i2"]
FACTORS = {2: (4, 2), 3: (2, 4, 2)}

settings.register_profile(
    "here",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
HERE = settings.get_profile("here")


@pytest.fixture(scope="module")
def fits():
    rng = np.random.default_rng(0)
    fits = {}
    for spatial_dims, shape in ((2, (12, 10)), (3, (6, 8, 6))):
        model = VQVAEModel(
            N_CODES,
            3,
            spatial_dims=spatial_dims,
            downsampling=FACTORS[spatial_dims],
            n_channels=8,
            n_blocks=1,
        )
        images = rng.integers(0, 200, (24, *shape), np.uint8)
        fits[spatial_dims] = model.fit(images, n_epochs=1, batch_size=8)
    return fits


@pytest.fixture(scope="module")
def priors():
    codes = np.random.default_rng(0).integers(0, N_CODES, (24, 3, 2))
    return {
        kind: PixelCNNModel(N_CODES, kind=kind, n_channels=4, n_layers=1).fit(
            codes, n_epochs=1
        )
        for kind in ("gated", "plain")
    }


def make_images(seed, dtype, shape):
    """Images of a type, with values around those of the training."""
    values = np.random.default_rng(seed).uniform(0, 250, shape)
    return (values > 100 if dtype == "bool" else values).astype(dtype)


@st.composite
def stacks(draw):
    """Number of spatial axes, and images with none to four of them in the stack."""
    spatial_dims = draw(st.sampled_from([2, 3]))
    longest = 17 if spatial_dims == 2 else 9
    lengths = st.tuples(*[st.integers(1, longest)] * spatial_dims)
    shape = (draw(st.integers(1, 4)), *draw(lengths))
    dtype, seed = draw(st.sampled_from(TYPES)), draw(st.integers(0, 2**32))
    return spatial_dims, make_images(seed, dtype, shape)


@HERE
@given(stack=stacks())
def test_images_to_codes_and_back(fits, stack):
    spatial_dims, images = stack
    fit, before = fits[spatial_dims], images.copy()
    codes = fit.encode(images)
    grid = [-(-n // f) for n, f in zip(images.shape[1:], FACTORS[spatial_dims])]
    assert codes.shape == (len(images), *grid) and codes.dtype == np.int32
    assert codes.min() >= 0 and codes.max() < N_CODES
    restored = fit.predict(images)
    assert restored.shape == images.shape and restored.dtype == np.float32
    low, high = np.float32(fit.config.bounds)
    assert low <= restored.min() and restored.max() <= high
    decoded = fit.decode(codes, image_shape=images.shape[1:])
    assert_array_equal(decoded, restored)
    assert_array_equal(images, before)
    usage = fit.usage(images)
    assert usage.n_used == len(np.unique(codes))
    assert 1 <= usage.perplexity <= usage.n_used * (1 + 1e-9)


@HERE
@given(
    stack=stacks(), seed=st.integers(0, 2**32), filling=st.sampled_from([0, 77, 250])
)
def test_what_is_outside_a_mask_has_no_influence(fits, stack, seed, filling):
    spatial_dims, images = stack
    mask = np.random.default_rng(seed).random(images.shape) < 0.6
    mask.reshape(len(mask), -1)[:, 0] = True  # something in each image
    other = images.copy()
    other[~mask] = filling
    fit = fits[spatial_dims]
    restored = fit.predict(images, mask=mask)
    assert_array_equal(fit.encode(images, mask=mask), fit.encode(other, mask=mask))
    assert_array_equal(restored, fit.predict(other, mask=mask))
    assert not restored[~mask].any()


@HERE
@given(
    codes=hnp.arrays(
        st.sampled_from(["int8", "uint8", "int32", "uint64", ">i4"]),
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.integers(0, N_CODES - 1),
    )
)
def test_codes_of_any_integer_type(fits, codes):
    images = fits[2].decode(codes)
    factors = FACTORS[2]
    full = (len(codes), *(n * f for n, f in zip(codes.shape[1:], factors)))
    # The grid of the training images stands for their shape.
    known = (len(codes), 12, 10) if codes.shape[1:] == (3, 5) else full
    assert images.shape == known and np.isfinite(images).all()
    assert_array_equal(images, fits[2].decode(codes.astype(np.int64)))


@HERE
@given(code=st.one_of(st.integers(N_CODES, 2**40), st.integers(-(2**40), -1)))
def test_codes_out_of_range_are_refused(fits, priors, code):
    codes = np.zeros((2, 3, 2), np.int64)
    codes[1, 2, 1] = code
    for function in (fits[2].decode, priors["gated"].log_prob, priors["plain"].predict):
        with pytest.raises(ValueError, match=str(code)):
            function(codes)


@HERE
@given(
    kind=st.sampled_from(["gated", "plain"]),
    seed=st.integers(0, 2**63),
    n=st.integers(1, 7),
    batch_size=st.integers(1, 8),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_samples(priors, kind, seed, n, batch_size, grid):
    options = {"random_seed": seed, "grid_shape": grid}
    samples = priors[kind].sample(n, batch_size=batch_size, **options)
    assert samples.shape == (n, *grid) and samples.dtype == np.int32
    assert samples.min() >= 0 and samples.max() < N_CODES
    more = priors[kind].sample(9, batch_size=4, **options)
    assert_array_equal(samples, more[:n])


@HERE
@given(
    offset=st.floats(-1e6, 1e6),
    scale=st.floats(1e-3, 1e6),
    dtype=st.sampled_from(TYPES[1:]),
    seed=st.integers(0, 2**32),
)
def test_scaling_is_undone(offset, scale, dtype, seed):
    images = make_images(seed, dtype, (3, 4, 5))
    scaling = IntensityScaling(offset=offset, scale=scale)
    scaled = scaling.apply(images)
    assert scaled.dtype == np.float32 and scaled.shape == images.shape
    # float32 has 24 bits, on the way there and on the way back.
    size = np.abs(images.astype(float)).max() + 2 * abs(offset) + scale
    assert_allclose(scaling.undo(scaled), images, rtol=0, atol=2**-22 * size)
    assert IntensityScaling.from_dict(scaling.to_dict()) == scaling


@HERE
@given(
    shape=hnp.array_shapes(min_dims=3, max_dims=4, max_side=5),
    spatial_dims=st.sampled_from([2, 3]),
    slice_axis=st.integers(0, 2),
    volumes_as=st.sampled_from(["images", "channels"]),
    dtype=st.sampled_from(["uint8", "int16", "float32"]),
    n_empty=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_what_is_taken_apart_is_put_back(
    tmp_path, shape, spatial_dims, slice_axis, volumes_as, dtype, n_empty, seed
):
    volume = make_images(seed, dtype, shape) + np.asarray(1, dtype)
    # Empty slices are left out, and come back as zeros.
    index = [slice(None)] * len(shape)
    index[slice_axis] = slice(0, n_empty)
    volume[tuple(index)] = 0
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "v.nii")
    how = {
        "spatial_dims": spatial_dims,
        "slice_axis": slice_axis,
        "volumes_as": volumes_as,
    }
    found = load_images(tmp_path / "v.nii", **how)
    ((source, back),) = found.sources.put_back(found.images)
    assert_array_equal(back, volume)
    assert_array_equal(source.affine, affine)
    flat = found.images.reshape(len(found), -1)
    if (flat == flat[:, :1]).all():
        return
    kept = load_images(tmp_path / "v.nii", **how, skip_empty=True)
    ((_, back),) = kept.sources.put_back(kept.images)
    assert back.shape == volume.shape
    assert_array_equal(back[back != 0], volume[back != 0])


@HERE
@given(
    array=hnp.arrays(
        st.sampled_from(["bool", "int8", "uint16", "int64", "float16", "float64"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    config=st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.none()),
        max_size=4,
    ),
)
def test_model_files_keep_everything(tmp_path, array, config):
    path = tmp_path / "m"
    try:
        save_model(path, kind="vqvae", config=config, arrays={"x": array})
    except (TypeError, UnicodeEncodeError):
        return
    found = load_model(path, kind="vqvae")
    assert found.config == config
    assert found.arrays["x"].dtype == array.dtype
    assert found.arrays["x"].tobytes() == array.tobytes()
