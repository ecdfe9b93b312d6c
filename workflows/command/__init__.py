"""What the commands have in common: options, outputs, messages, exit codes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["HTML", "NIFTI", "PNG", "VQVAEWorkflow"],
        "declared": [
            "Group",
            "INPUT_FILES",
            "MASK_FILES",
            "OUT_DIR",
            "RESUME",
            "VALIDATION_FILES",
            "VALIDATION_FRACTION",
            "VALIDATION_MASK_FILES",
            "VQVAE_FILE",
            "options_of",
            "output",
            "settings_from",
            "takes_options",
        ],
        "errors": [
            "SomeFilesFailed",
            "Terminated",
            "UsageError",
            "explain",
            "is_expected",
            "one_line",
        ],
        "options": [
            "as_list",
            "check_batch_size",
            "check_choice",
            "check_device",
            "check_least",
            "check_slice_axis",
            "existing_file",
            "numbers_of",
            "positive",
            "required",
        ],
        "outputs": ["check_existing", "file_stem"],
        "parser": ["in_place_of_dipys", "options_for"],
        "ranks": [
            "are_several",
            "first_decides",
            "is_first",
            "refuse_several",
            "share_items",
            "share_rows",
        ],
    },
)
