"""Optimisers, gradient clipping and the moving average of parameters."""

from contextlib import contextmanager
import math

import torch

from dipy_vqvae.training.muon import Muon

# Devices with a fused step of Adam.
_FUSED_ON = ("cpu", "cuda")


def make_optimizer(module, parameters, options):
    """Make the optimiser: Muon, Adam, or AdamW if there is weight decay."""
    rates = {"lr": options.learning_rate, "betas": tuple(options.betas)}
    if options.optimizer == "muon":
        linear = _linear_weights(module)
        return Muon(
            [p for p in parameters if id(p) in linear],
            [p for p in parameters if id(p) not in linear],
            weight_decay=options.weight_decay,
            **rates,
        )
    rates["fused"] = all(
        p.device.type in _FUSED_ON and p.is_floating_point() for p in parameters
    )
    if options.weight_decay == 0:
        return torch.optim.Adam(parameters, **rates)
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, weight_decay=options.weight_decay, **rates)


def _linear_weights(module):
    """Return identities of the parameters that are linear maps: matrices, kernels."""
    return {
        id(part.weight)
        for part in module.modules()
        if isinstance(getattr(part, "weight", None), torch.nn.Parameter)
        and part.weight.ndim > 1
        and not isinstance(part, torch.nn.Embedding)
    }


def optimizer_tensors(optimizer, parameters):
    """Return the optimiser's state as tensors with names such as "3.exp_avg"."""
    return {
        f"{index}.{key}": tensor
        for index, parameter in enumerate(parameters)
        for key, tensor in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer, parameters, tensors):
    """Put the result of `optimizer_tensors` into a new optimiser.

    `Optimizer.load_state_dict` would lay the averages out contiguously, while
    the fused kernels expect them as the parameters are (channels last).
    """
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        if key == "step":
            fused = optimizer.defaults["fused"]
            restored = tensor.to(parameter.device) if fused else tensor
        elif tensor.shape != parameter.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}")
        else:
            restored = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        optimizer.state[parameter][key] = restored


def clip_gradients(parameters, max_norm):
    """Clip the gradients' global norm in place (None: not); return it from before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if max_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


class ParameterAverage:
    """Debiased exponential moving average of parameters.

    With decay :math:`d`, the average after step :math:`t` is
    :math:`\\sum_{i \\le t} d^{t-i} p_i / \\sum_{i \\le t} d^{t-i}`, kept as
    the running mean :math:`a_t = a_{t-1} + w_t (p_t - a_{t-1})` with
    :math:`w_t = (1 - d) / (1 - d^t)`; :math:`w_1 = 1` cancels the initial value.
    """

    def __init__(self, parameters, decay):
        self.parameters = parameters
        self.decay = decay
        self.average = [parameter.detach().clone() for parameter in parameters]

    def tensors(self):
        """Return the averages, named by the positions of the parameters."""
        return {str(index): tensor for index, tensor in enumerate(self.average)}

    @torch.no_grad()
    def update(self, n_updates):
        """Include the parameters; `n_updates` counts this update (from 1)."""
        weight = (1.0 - self.decay) / -math.expm1(n_updates * math.log(self.decay))
        torch._foreach_lerp_(self.average, self.parameters, weight)

    @torch.no_grad()
    def apply(self):
        """Put the averages into the parameters."""
        torch._foreach_copy_(self.parameters, self.average)

    @contextmanager
    def applied(self):
        """Put the averages into the parameters within a block."""
        parameters = [parameter.detach().clone() for parameter in self.parameters]
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, parameters)
