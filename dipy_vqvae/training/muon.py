r"""Muon: steps with orthogonal matrices for weights that are matrices.

The momentum M of a weight matrix is replaced by the nearest (semi-)orthogonal matrix,
:math:`U V^T` of its singular value decomposition :math:`U S V^T`
:footcite:p:`Jordan2024`. Kernels of convolutions count as matrices of outputs by inputs
and taps. A step has a fixed root mean square relative to the learning rate, so that
matrices share one rate :footcite:p:`Liu2025` with the parameters that are left to Adam
:footcite:p:`Kingma2015`.

References
----------
.. footbibliography::
"""

import torch

# Odd polynomial a x + b x^3 + c x^5 that drives singular values in (0, 1] towards 1
# (to within about 0.3, which is near enough for a direction); Jordan et al.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_N_ITERATIONS = 5
# Of these, the iterations for the matrix itself.
_N_FIRST = 3
# Root mean square of an update, relative to the learning rate. Adam's is about 0.2
# (Liu et al.); half of it did better in short trainings at a high rate.
_RELATIVE_SIZE = 0.1


def orthogonalise(matrices):
    r"""Approximate the nearest semi-orthogonal matrices by Newton-Schulz iterations.

    `matrices` is a list of float32 tensors (R, C) of any shapes. The singular values of
    the results are 1 to within about 0.3; zero matrices stay zero.

    With :math:`A = X X^T` of the smaller side, an iteration is
    :math:`X \leftarrow (a I + b A + c A^2) X`. These polynomials commute: the last
    iterations are done for A alone, and X is multiplied once in the end. Not the first
    ones: A is the square, in which weak directions, that are enlarged up to 500 times in
    all, have the rounding errors of the strong ones.
    """
    wide = [m.T if m.shape[0] > m.shape[1] else m for m in matrices]
    by_shape = {}
    for index, m in enumerate(wide):
        by_shape.setdefault(tuple(m.shape), []).append(index)
    results = [None] * len(wide)
    for indices in by_shape.values():
        # Of one shape at a time: products of a batch are quicker.
        for i, result in zip(
            indices, _iterate(torch.stack([wide[i] for i in indices]))
        ):
            is_tall = matrices[i].shape[0] > matrices[i].shape[1]
            results[i] = result.T if is_tall else result
    return results


def _iterate(x):
    """Newton-Schulz iterations of a batch of matrices, (n, R, C) with R <= C."""
    a, b, c = _COEFFICIENTS
    # The Frobenius norm bounds the singular values.
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]
    for _ in range(_N_FIRST):
        square = x @ x.mT
        x = torch.baddbmm(
            x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a
        )
    square = x @ x.mT
    product = None
    for iteration in range(_N_FIRST, _N_ITERATIONS):
        step = torch.baddbmm(square, square, square, beta=b, alpha=c)
        step.diagonal(dim1=1, dim2=2).add_(a)
        product = step if product is None else step @ product
        if iteration < _N_ITERATIONS - 1:
            square = step @ square @ step
    return product @ x


def _to_matrix(kernel):
    """Reshape (out, in, *taps) to (out, taps * in), a view of channels-last kernels."""
    return kernel.movedim(1, -1).reshape(len(kernel), -1)


def _from_matrix(matrix, shape):
    """Undo `_to_matrix`."""
    n_out, n_in, *taps = shape
    return matrix.reshape(n_out, *taps, n_in).movedim(-1, 1)


class Muon(torch.optim.Optimizer):
    """Muon for matrices and convolution kernels, Adam for all other parameters.

    Only matrices have (decoupled) weight decay and (Nesterov's) momentum.
    """

    def __init__(self, matrices, others, *, lr, betas, weight_decay=0.0, momentum=0.95):
        groups = [{"params": params} for params in (matrices, others) if params]
        super().__init__(groups, {"lr": lr, "fused": True})
        self.matrices = matrices
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.adam = None
        if others:
            self.adam = torch.optim.Adam(others, lr=lr, betas=betas, fused=True)
            # One state, for checkpoints.
            self.adam.state = self.state

    @torch.no_grad()
    def step(self):
        """Take a step along the parameters' gradients."""
        learning_rate = self.param_groups[0]["lr"]
        if self.adam is not None:
            self.adam.param_groups[0]["lr"] = learning_rate
            self.adam.step()
        used = [p for p in self.matrices if p.grad is not None]
        if not used:
            return
        gradients = [p.grad for p in used]
        averages = [self._average(p) for p in used]
        torch._foreach_lerp_(averages, gradients, 1 - self.momentum)
        ahead = torch._foreach_lerp(gradients, averages, self.momentum)
        updates = orthogonalise([_to_matrix(kernel) for kernel in ahead])
        if self.weight_decay:
            torch._foreach_mul_(used, 1 - learning_rate * self.weight_decay)
        for parameter, update in zip(used, updates):
            # The root mean square of an orthogonal matrix is 1 / sqrt(larger side).
            size = _RELATIVE_SIZE * max(update.shape) ** 0.5
            update = _from_matrix(update, parameter.shape)
            parameter.sub_(update, alpha=learning_rate * size)

    def _average(self, parameter):
        state = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(parameter)
        return state["average"]
