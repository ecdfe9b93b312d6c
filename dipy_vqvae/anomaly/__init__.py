"""What in an image is unlike the training images, and how sure that is."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "maps": ["MapMaker"],
        "model": ["AnomalyFit", "AnomalyModel", "calibrated"],
        "subjects": ["SubjectImages"],
    },
)
