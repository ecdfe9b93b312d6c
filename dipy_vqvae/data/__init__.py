"""Files and arrays to subjects, scaled and surveyed once."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "axes": ["Layout", "layout_of", "layout_of_stack"],
        "checks": ["check_images", "check_mask", "is_varying"],
        "collection": ["ImageCollection"],
        "contrast": ["RangeCheck", "check_scaled"],
        "formats.idx": ["read_idx"],
        "formats.nifti": ["SPACE_FIELDS", "read_extensions", "read_nifti"],
        "formats.reading": ["Image", "image_kind", "read_image"],
        "intensity": ["IntensityScaling", "fit_scaling"],
        "mnist": ["MNIST", "fetch_mnist", "load_mnist"],
        "names": [
            "bids_name",
            "distinct_words",
            "file_stem",
            "short_names",
            "subject_of",
        ],
        "nifti_output": ["make_nifti", "space_of_blocks", "write_nifti"],
        "opening": ["ImageSet", "load_images", "names_images", "open_images"],
        "orientation": ["distance_apart", "orientation_of"],
        "padding": ["crop_to", "pad_to", "padded_shape"],
        "pairing": ["PairingError", "expand_with_masks"],
        "paths": ["expand_paths"],
        "planes": [
            "PLANES",
            "Turn",
            "directions_of",
            "image_affine",
            "plane_of",
            "plane_of_files",
        ],
        "positions": ["slice_positions"],
        "reading": ["Reading", "describe_reading"],
        "subjects": ["as_subjects"],
        "survey": [
            "Survey",
            "subject_digests",
            "survey_subjects",
            "volume_scaling",
        ],
    },
)
