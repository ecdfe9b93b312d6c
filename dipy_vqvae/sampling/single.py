"""Logits at a single position, by a pass over what they depend on and no more.

For draws that need another precision than the incremental pass works in.
"""

import torch.nn.functional as F

from dipy_vqvae.nn import CONV, GatedPixelCNN, PlainPixelCNN, gate


def logits_at(net, codes, labels, position):
    """Return logits at one position."""
    if isinstance(net, GatedPixelCNN):
        logits = _gated(net, codes, labels, position)
        return logits.flatten(1)
    region = tuple(slice(0, size) for size in codes.shape[1:])
    if isinstance(net, PlainPixelCNN):
        # A path from a code to the logits passes each of the convolutions.
        convs = [net.first, *(block.masked for block in net.blocks)]
        margin = sum(conv.kernel_size // 2 for conv in convs)
        region = _region(position, codes.shape[1:], 0, margin)
    logits = net(codes[(slice(None), *region)], labels)
    here = tuple(slice(p, p + 1) for p in position)
    return _cut(logits, region, here).flatten(1)


def _gated(net, codes, labels, position):
    """Compute the part of each stack that the layers above need, layer by layer."""
    grid_shape = codes.shape[1:]
    stacks = range(len(grid_shape))
    n_layers = len(net.layers)
    step = max(
        max(conv.radius, conv.depth - 1) for layer in net.layers for conv in layer.convs
    )
    # Of each layer's input, by stack.
    needed = [
        [_region(position, grid_shape, s, step * (n_layers - i)) for s in stacks]
        for i in range(n_layers + 1)
    ]
    bias = net.position_bias(grid_shape)
    states = []
    for s, conv in enumerate(net.first):
        margin = step * n_layers + max(conv.radius, conv.depth)
        seen = _region(position, grid_shape, s, margin)
        embedded = net.embed(codes[(slice(None), *seen)])
        part = (slice(None), *needed[0][s])
        states.append(_convolved(conv, embedded, seen, needed[0][s]) + bias[s][part])
    conditions = net.conditions(labels)
    for i, layer in enumerate(net.layers):
        new_states = []
        for s in stacks:
            seen, kept = needed[i][s], needed[i + 1][s]
            a = _convolved(layer.convs[s], states[s], seen, kept)
            if s:
                below = _cut(new_states[s - 1], needed[i + 1][s - 1], kept)
                a = a + layer.links[s - 1](below)
            if conditions[i] is not None:
                a = a + conditions[i][s][(..., *[None] * len(grid_shape))]
            state = _cut(states[s], seen, kept)
            new_states.append(state + layer.outs[s](gate(a)))
        states = new_states
    return net.head(states[-1])


def _region(position, grid_shape, stack, margin):
    """Return the region that is needed of a stack.

    The parts of the grid that come later along its own axis are in the future.
    """
    region = []
    for axis, (p, size) in enumerate(zip(position, grid_shape)):
        before = margin if axis >= stack else 0
        after = margin if axis > stack else 0
        region.append(slice(max(0, p - before), min(size, p + after + 1)))
    return tuple(region)


def _convolved(conv, x, region, part):
    """Return a stack's convolution of ``(B, C, *region)``, at the positions of `part`.

    The region holds all of the grid that they need; outside the grid are zeros.
    """
    inputs, padding = [], []
    for axis, (seen, kept) in enumerate(zip(region, part)):
        before = after = 0
        if axis == conv.stack:
            before = conv.depth if conv.strict else conv.depth - 1
            after = -1 if conv.strict else 0
        elif axis > conv.stack:
            before = after = conv.radius
        start, stop = kept.start - before, kept.stop + after
        inside = slice(max(start, seen.start), max(min(stop, seen.stop), seen.start))
        inputs.append(inside)
        padding.append((inside.start - start, stop - inside.stop))
    # F.pad lists the axes from the last to the first.
    padding = [size for pair in padding[::-1] for size in pair]
    x = F.pad(_cut(x, region, inputs), padding)
    return CONV[len(part)](x, conv.weight, conv.bias)


def _cut(x, region, part):
    """Return the `part` of an array ``(B, C, *region)``, both in places of the grid."""
    inside = [slice(b.start - a.start, b.stop - a.start) for a, b in zip(region, part)]
    return x[(slice(None), slice(None), *inside)]
