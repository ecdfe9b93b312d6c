"""The MNIST experiment."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classifier": [
            "DigitClassifier",
            "features",
            "load_classifier",
            "probabilities",
            "save_classifier",
        ],
        "data": ["find_data", "load_digits"],
        "run": ["run_validation"],
        "settings": ["ExperimentSettings", "OUTPUT_FILES", "UNFINISHED"],
        "training_stages": ["n_parameters"],
    },
)
