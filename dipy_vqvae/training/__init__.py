"""The training loop: options, schedule, optimizer, checkpoints, history."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checkpoint": ["differences"],
        "fit": ["Fit", "today"],
        "history": ["History"],
        "loop": ["train"],
        "optimizer": ["make_optimizer"],
        "options": ["TrainingOptions"],
        "schedule": ["order_of_epoch", "share_time", "usual_batch_size"],
        "stopping": ["TrainingDiverged", "TrainingInterrupted"],
        "weights": ["HasWeights"],
    },
)
