"""Files that are whole or not there, and model files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "atomic": ["atomic_write", "check_writable", "remove_leftovers"],
        "checkpoint_paths": ["check_second_stage", "second_stage"],
        "hashing": ["fingerprint"],
        "model_file": ["load_model", "save_model"],
        "network": ["load_network"],
        "tensor_file": [
            "CHECKPOINT",
            "read_tensor_file",
            "to_json",
            "write_tensor_file",
        ],
    },
)
