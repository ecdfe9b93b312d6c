"""The training loop and what it is made of."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checkpoint": ["differences"],
        "history": ["History"],
        "loop": ["train"],
        "options": ["TrainingOptions"],
        "stopping": ["TrainingDiverged", "TrainingInterrupted"],
        "optimizer": ["make_optimizer"],
        "schedule": ["Schedule", "order_of_epoch", "share_time", "usual_batch_size"],
    },
)
