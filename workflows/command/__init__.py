"""Parts of all commands: options, outputs, messages, exit codes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "arguments": ["as_list", "check_device", "existing_file"],
        "base": ["VQVAEWorkflow"],
        "declared": [
            "Group",
            "help_text",
            "metavar",
            "options_of",
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
            "BATCH_SIZE",
            "BIDS",
            "FileName",
            "HTML",
            "INPUT_FILES",
            "MASK_FILES",
            "NIFTI",
            "OUT_DIR",
            "PIXELCNN_FILE",
            "PNG",
            "RESUME",
            "SLICE_AXIS",
            "TEXT",
            "USE_CUDA",
            "VALIDATION_FILES",
            "VALIDATION_FRACTION",
            "VALIDATION_MASK_FILES",
            "VQVAE_FILE",
            "files",
            "output",
        ],
        "outputs": ["check_existing"],
        "parser": ["in_place_of_dipys", "options_for"],
        "ranks": [
            "first_decides",
            "is_first",
            "refuse_several",
            "share_items",
            "share_rows",
        ],
    },
)
