"""Sums over the components of a prior."""

import torch
import torch.nn.functional as F


def log_prob_of(logits, codes):
    """Return the log-probability of each code, ``(B, *grid)``; 0 where it is K.

    `logits` are ``(B, K, *grid)``.
    """
    return -F.cross_entropy(
        logits, codes, reduction="none", ignore_index=logits.shape[1]
    )


def mixture_logits(logits_of, codes, log_weights, *, reverse):
    """Return the log-probabilities of each code given those before it.

    Components count by their probability given the codes before.

    Parameters
    ----------
    logits_of : callable
        The logits ``(B, K, *grid)`` of a component, by its number.
    codes : torch.Tensor, shape (B, *grid)
        K where they do not count.
    log_weights : torch.Tensor, shape (B, C), float64
    reverse : bool
        Whether the codes after are those that count.

    Returns
    -------
    log_p : torch.Tensor, shape (B, K, *grid), float64
    """
    components = range(log_weights.shape[1])
    given = []
    for c in components:
        own = log_prob_of(logits_of(c), codes).double().flatten(1)
        own = own.flip(1) if reverse else own
        before = F.pad(own.cumsum(1)[:, :-1], (1, 0)) + log_weights[:, c : c + 1]
        given.append(before.flip(1) if reverse else before)
    given = torch.log_softmax(torch.stack(given), dim=0)  # (C, B, positions)
    total = None
    for c in components:
        log_p = F.log_softmax(logits_of(c).double(), dim=1)
        log_p += given[c].reshape(len(codes), 1, *codes.shape[1:])
        total = log_p if total is None else torch.logaddexp(total, log_p)
    return total
