"""Training and other work in several processes, started by ``torchrun``.

All processes of a job run the same program with the same arguments.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "collectives": [
            "all_reduce_sum",
            "average_gradients",
            "broadcast",
            "can_send_from_cpus",
            "first_decides",
            "gather",
            "is_parallel",
            "rank",
            "rows_of_all",
            "wait_for_all",
            "weight_of_mean",
            "world_size",
        ],
        "rendezvous": ["processes"],
        "sharing": ["map_parts", "share_of"],
    },
)
