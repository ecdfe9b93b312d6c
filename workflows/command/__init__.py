"""What makes a function a command."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": [
            "HTML",
            "NIFTI",
            "VQVAEWorkflow",
            "as_list",
            "check_choice",
            "check_device",
            "check_least",
            "existing_file",
            "numbers_of",
            "positive",
            "required",
        ],
        "console": ["check_log_files"],
        "errors": [
            "SomeFilesFailed",
            "Terminated",
            "UsageError",
            "explain",
            "is_expected",
            "one_line",
        ],
        "outputs": ["check_existing", "checkpoint_of", "file_stem", "is_trained"],
        "parser": ["in_place_of_dipys", "options_for"],
    },
)
