"""The benchmarks: they start without the peers, and racing changes no result."""

from pathlib import Path
import runpy
import sys
import time

import numpy as np
import numpy.testing as npt
import pytest
import torch
from toy_training import ToyTask, result
from toy_vqvae import assert_same_fit, blobs, fit_to

from dipy_vqvae.training import TrainingOptions, train

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = [
    path
    for path in sorted(FOLDER.glob("*.py"))
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
]
PEERS = ("monai", "vector_quantize_pytorch", "imagecodecs")
OPTIONS = TrainingOptions(
    n_epochs=4, batch_size=10, learning_rate=0.02, optimizer="adam"
)


@pytest.fixture(autouse=True)
def benchmarks_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def turns():
    import turns

    return turns


def run(path, *arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_needs_no_peers(path, monkeypatch, capsys):
    for name in PEERS:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit) as end:
        run(path, "--help", monkeypatch=monkeypatch)
    assert end.value.code == 0
    assert f"usage: {path.name}" in capsys.readouterr().out


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_readme_says_how_to_run_it(path):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"python benchmarks/{path.name}" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "name", ["sampling", "scaling", "quantiser", "peers", "time_to_quality"]
)
def test_without_a_gpu_nothing_is_measured(name, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        run(FOLDER / f"{name}.py", "--cuda", monkeypatch=monkeypatch)
    assert end.value.code == 0
    assert capsys.readouterr().out == "No GPU here: nothing was measured.\n"


def test_the_quantiser_without_its_peer(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "vector_quantize_pytorch", None)
    sizes = ["--vectors", "3000", "--codes", "32", "--dim", "4", "--repeats", "1"]
    run(FOLDER / "quantiser.py", *sizes, monkeypatch=monkeypatch)
    output = capsys.readouterr()
    assert "| nearest_code |" in output.out
    assert "vector-quantize-pytorch is not installed" in output.err


def test_where_curves_of_bits_and_quality_cross():
    from rate_curves import Point, best_at, compare

    def curve(bits_of, qualities):
        return [Point(None, bits_of(q), q, q / 40, 0.0) for q in qualities]

    # Logarithms on straight lines: 2 ** 8 bits at 30 dB, where they cross.
    steep = curve(lambda q: 2 ** (8 + q - 30), range(28, 34, 2))
    flat = curve(lambda q: 2 ** (8 + (q - 30) / 2), range(26, 36, 3))
    found = compare(steep, flat, "psnr")
    ((bits, quality),) = found.crossings
    assert quality == pytest.approx(30, abs=0.01)
    assert bits == pytest.approx(2**8, rel=0.01)
    npt.assert_allclose(found.qualities[[0, -1]], [28, 32])
    npt.assert_allclose(found.shares[[0, -1]], [1 / 2, 2])
    assert not compare(steep, curve(lambda q: 300, [28.5, 29.5]), "ssim").crossings
    assert compare(steep, curve(lambda q: 1, [40, 50]), "psnr") is None
    codec, bits = best_at({"steep": steep, "flat": flat}, "psnr", 31)
    assert codec == "flat"
    assert bits == pytest.approx(2**8.5)


# Synthetic changes.


@pytest.mark.parametrize("shape", [(64, 64), (35, 51, 34)])
@pytest.mark.parametrize("kind", ["patch", "block", "shift", "flip", "blur"])
def test_changes_are_where_they_are_said_to_be(kind, shape):
    from changes import LOCAL, changed

    rng = np.random.default_rng(0)
    image = 5000 * rng.random(shape).astype(np.float32)
    middle = tuple(slice(n // 4, -n // 4) for n in shape)
    image[middle] += 5000
    shares = []
    for level in range(3):
        new, where = changed(image, kind, level, rng, [image[::-1], image[:, ::-1]])
        assert (new.dtype, new.shape, where.shape) == (image.dtype, shape, shape)
        npt.assert_array_equal(where, new != image)
        shares.append(where.mean())
        again = changed(image, kind, level, np.random.default_rng(1), [image[::-1]])
        same = changed(image, kind, level, np.random.default_rng(1), [image[::-1]])
        npt.assert_array_equal(again[0], same[0])
        if kind == "flip":
            npt.assert_array_equal(changed(new, kind, level, rng, [])[0], image)
    if kind in LOCAL:
        assert 0 < shares[1] < 0.4 and shares[0] <= shares[1]
    else:
        assert min(shares) > 0.99


# Trainings in turns.


def contenders(turns, n, work, **settings):
    settings = {"metric": lambda values: values["loss"], **settings}
    return [turns.Contender(str(i), work, **settings) for i in range(n)]


def test_trainings_in_turns_are_those_of_their_own(turns):
    images = blobs(40, (8, 8))
    alone = fit_to(images, validation_images=images[:9], n_decoder_epochs=1)

    def work():
        return fit_to(images, validation_images=images[:9], n_decoder_epochs=1)

    both = contenders(turns, 2, work, metric=lambda values: values["mse"])
    turns.race(both, turn_seconds=0.0)  # one step each
    for contender in both:
        assert_same_fit(contender.result, alone)
        # All epochs were measured, the decoder's own as well.
        assert [point.items for point in contender.points] == [40, 80, 120]
        values = [point.value for point in contender.points]
        npt.assert_allclose(values, alone.history["validation_mse"])
        assert contender.items == 120
        assert contender.n_items == 40


def test_clocks_stand_while_others_train_and_while_one_is_measured(turns):
    def work(seconds):
        task = ToyTask(in_step=lambda step: time.sleep(seconds))
        validate = task.validate
        task.validate = lambda: time.sleep(0.2) or validate()
        return turns.timed_train(task, OPTIONS)

    metric = {"metric": lambda values: values["loss"]}
    quick = turns.Contender("quick", lambda: work(0.001), **metric)
    slow = turns.Contender("slow", lambda: work(0.03), **metric)
    start = time.perf_counter()
    turns.race([quick, slow], turn_seconds=0.05)
    taken = time.perf_counter() - start
    # 20 steps each, four measurements each.
    assert slow.seconds >= 20 * 0.03
    assert taken >= quick.seconds + slow.seconds + 8 * 0.2
    assert quick.seconds < slow.seconds
    # The turns are not so exact that this could be more than a rough check.
    assert 0 < min(slow.speeds) <= max(slow.speeds) <= 10 / 0.03


def test_measurements_within_an_epoch_change_nothing(turns):
    def work():
        task = ToyTask()
        return result(task, turns.timed_train(task, OPTIONS))

    (contender,) = contenders(turns, 1, work, every=0.0)
    turns.race([contender], turn_seconds=1.0)
    task = ToyTask()
    assert contender.result == result(task, train(task, OPTIONS))
    # After each of the 20 steps, and once more at the end of each epoch.
    assert len(contender.points) == 20 + 4
    seconds = [point.seconds for point in contender.points]
    assert seconds == sorted(seconds)


def test_a_training_is_stopped(turns):
    def work():
        return turns.timed_train(ToyTask(), OPTIONS)

    (first,) = contenders(turns, 1, work, start_at=5, target=1e9)
    (second,) = contenders(
        turns, 1, work, stop_when=lambda contender: contender.items >= 20, target=-1
    )
    turns.race([first, second], turn_seconds=0.0)
    assert (first.was_stopped, second.was_stopped) == (False, True)
    assert 20 <= second.items < 30
    assert first.reached == first.points[0]
    assert first.reached.seconds > 5
    assert second.reached is None
    assert second.result is None


def test_an_error_ends_the_race(turns):
    def fail():
        raise ValueError("no images")

    (failing,) = contenders(turns, 1, fail)
    (other,) = contenders(turns, 1, lambda: turns.timed_train(ToyTask(), OPTIONS))
    with pytest.raises(ValueError, match="no images"):
        turns.race([failing, other], turn_seconds=0.0)
    assert other.was_stopped
