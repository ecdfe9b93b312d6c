"""Files that are complete or absent, model files and checkpoints."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "atomic": ["atomic_write", "check_writable", "remove_leftovers"],
        "checkpoint_paths": [
            "check_second_stage",
            "checkpoint_of",
            "checkpoints_of",
            "is_trained",
            "second_stage",
        ],
        "download": [
            "NotServed",
            "Unreachable",
            "dipy_home",
            "open_url",
            "save_response",
        ],
        "hashing": ["fingerprint"],
        "model_file": [
            "CHECKPOINT",
            "load_model",
            "model_kind",
            "read_tensor_file",
            "save_model",
            "to_json",
            "write_tensor_file",
        ],
        "network": ["load_network"],
        "presence": ["check_present"],
        "registry": ["fetch_model", "named_models"],
    },
)
