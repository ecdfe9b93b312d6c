"""Options that several commands have."""

from dataclasses import dataclass
import os
from pathlib import Path

from dipy_vqvae.settings import Any, Flag, Integer, Real, Setting, SliceAxis

# Extensions of outputs.
NIFTI = (".nii", ".nii.gz")
HTML = (".html", ".htm")
PNG = (".png",)
TEXT = (".txt",)


@dataclass(frozen=True)
class FileName:
    """The name of an output file, with one of some extensions."""

    extensions: tuple = ()
    doc_type = "str"
    option_type = "string"

    @property
    def needed(self):
        """Describe the names allowed."""
        ends = f" that ends in {' or '.join(self.extensions)}" * bool(self.extensions)
        return f"the name of a file{ends}"

    def convert(self, value, n_axes=None):
        """Return the name as str; None where it is not allowed."""
        name = "" if value is None else os.fspath(value)
        is_file = Path(name).name and not name.endswith(os.sep)
        has_extension = not self.extensions or name.lower().endswith(self.extensions)
        return name if is_file and has_extension else None


def files(doc, **kwargs):
    """Declare input files; globs and folders are allowed."""
    return Setting(None, Any("list of str", "variable string"), doc, **kwargs)


def output(default, doc, extensions=(), *, is_result=False):
    """Declare an output's file name; only the result of a command cannot be skipped."""
    if not is_result:
        doc += " Pass None to skip this output."
    return Setting(default, FileName(extensions), doc, may_be_none=not is_result)


VQVAE_FILE = Setting(
    None,
    Any(),
    "VQ-VAE, as written by dipy_fit_vqvae, or the name of a model, such as mnist.",
    is_required=True,
)
PIXELCNN_FILE = Setting(
    None,
    Any(),
    "Prior, as written by dipy_fit_pixelcnn for the codes of that VQ-VAE, or the name "
    "of a model.",
    is_required=True,
)
INPUT_FILES = files(
    "Images: NIfTI, .mgz, Analyze, .npy or idx files, globs or folders of them.",
    is_required=True,
)
MASK_FILES = files(
    "Masks, nonzero inside, with the shape of the images' volumes: one for all images, "
    "or one for each, paired by the names of the files (in the same order where names "
    "say nothing). Voxels outside have no influence."
)
VALIDATION_FILES = files(
    "Held-out images for the validation loss after each epoch; use other subjects than "
    "those of the training."
)
VALIDATION_MASK_FILES = files("Masks of validation_files, as mask_files.")
VALIDATION_FRACTION = Setting(
    0.0,
    Real(0, 1, is_high_open=True),
    "Instead of validation_files, the fraction of the subjects to hold out, at least "
    "one: files with the same sub- entity (BIDS) are of one subject, others are one each.",
)
SLICE_AXIS = Setting(
    None,
    SliceAxis(),
    "Plane or axis of the slices of volumes, for a 2D model; by default that of the "
    "model's training images.",
)
BATCH_SIZE = Setting(
    None,
    Integer(1),
    "Images to process at a time; lower it if memory runs out. By default as many as "
    "have about 260,000 voxels.",
)
USE_CUDA = Setting(
    False,
    Flag(),
    "Compute on a GPU. Without one, a warning is logged and the CPU is used.",
)
BIDS = Setting(
    False,
    Flag(),
    "Write a BIDS derivatives dataset: outputs keep the entities of their inputs, in "
    "folders by subject, with a JSON sidecar each and one dataset_description.json.",
)
RESUME = Setting(
    False,
    Flag(),
    "Continue an interrupted training from its checkpoint, if there is one.",
)
OUT_DIR = Setting("", Any(), "Folder of the outputs.", may_be_none=True)
#: What the maker of a model states in its card.
CARD = {
    "license": Setting(
        None, Any(), "Licence of the model, for its card (dipy_describe_vqvae)."
    ),
    "data_source": Setting(
        None, Any(), "Origin of the training data, for the card of the model."
    ),
    "intended_use": Setting(
        None, Any(), "What the model is for, and what not, for its card."
    ),
}
