"""Two machines, as far as one machine can be two; `benchmarks/nodes.py` does more."""

import importlib.util
from pathlib import Path
import sys

import pytest
import torch

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not torch.distributed.is_available() or not Path("/proc/self/stat").exists(),
        reason="no gloo here, or no /proc",
    ),
]


@pytest.fixture(scope="module")
def nodes():
    sys.path.append(str(_BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("nodes", _BENCHMARKS / "nodes.py")
        module = importlib.util.module_from_spec(spec)
        # What dataclasses ask for.
        sys.modules["nodes"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.modules.pop("nodes", None)
        sys.path.remove(str(_BENCHMARKS))


@pytest.fixture(scope="module")
def cluster(nodes, tmp_path_factory):
    """Two agents of one process each."""
    folder = tmp_path_factory.mktemp("nodes")
    nodes.make_images(folder)
    with nodes.two_machines(namespaces=False) as machines:
        yield nodes.Cluster(machines, folder, n_processes=1)


def test_two_machines_fit_what_one_process_does(nodes, cluster):
    command = ["dipy_fit_vqvae", "s*.nii.gz", *nodes.VQVAE, "--n_epochs", "2"]
    nodes.alone(command, cluster.folder, "one")
    cluster.run([*command, "--out_dir", "two"])
    model = "vqvae.safetensors"
    difference = nodes.relative_difference(
        cluster.folder / "one" / model, cluster.folder / "two" / model
    )
    assert 0 < difference < nodes.LIMIT  # 0: it was one process after all


def test_a_machine_that_is_stopped_stops_both(nodes, cluster):
    what, _, outcome = nodes.interrupt_and_resume(cluster, "stop", nodes.stop_an_agent)
    assert what == "stop" and "resumed: the same bits" in outcome


def test_a_difference_is_found(nodes, tmp_path):
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text)
    with pytest.raises(ValueError, match="file differs"):
        nodes.same_files(tmp_path / "a", tmp_path / "b")
