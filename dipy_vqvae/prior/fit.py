"""A trained prior: likelihoods and new grids of codes."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from dipy_vqvae.arrays import as_array, is_list_of_arrays
from dipy_vqvae.codes import (
    GridList,
    check_completion,
    check_grids,
    fix_outside,
    pad_grids,
)
from dipy_vqvae.device import inference, to_tensor
from dipy_vqvae.prior.choice import Distances, choose_codes
from dipy_vqvae.prior.conditions import match_conditions
from dipy_vqvae.prior.config import PixelCNNConfig
from dipy_vqvae.prior.mixture import log_prob_of, mixture_logits
from dipy_vqvae.prior.packed import (
    PackedGrids,
    decode_grids,
    encode_grids,
    from_bytes,
    to_bytes,
)
from dipy_vqvae.prior.reported import encode_all
from dipy_vqvae.prior.surprisal import Surprisal, surprisal_of
from dipy_vqvae.sampling import draw, sample_codes, uniforms
from dipy_vqvae.settings import check_number, per_axis, seed_of
from dipy_vqvae.training import Fit

# Codes that are evaluated at a time, times K logits each.
POSITIONS_AT_A_TIME = 65_536


class PixelCNNFit(Fit):
    """A trained prior.

    Made by :meth:`PixelCNNModel.fit` or :meth:`load`.
    The method is that of :footcite:p:`vandenOord2016b`.

    Parameters
    ----------
    net : torch.nn.Module
        The trained network.
    config : PixelCNNConfig
        What it was built from.
    history : History
        Losses by epoch, in nats per code.
    description : dict
        Settings and training data.

    References
    ----------
    .. footbibliography::
    """

    KIND = "pixelcnn"
    NAME = "prior"
    CONFIG = PixelCNNConfig
    SHOWN = ("kind", "n_codes", "grid_shape", "n_classes")

    @property
    def n_codes(self):
        """Number of codes, K."""
        return self.config.n_codes

    @property
    def grid_shape(self):
        """Grid of the training codes."""
        return self.config.grid_shape

    @property
    def n_classes(self):
        """Number of class labels; 0 for a prior without labels."""
        return self.config.n_classes

    def _batches(self, codes, conditions, batch_size):
        """Yield (slice, codes, conditions) as tensors."""
        if batch_size is None:
            batch_size = max(1, POSITIONS_AT_A_TIME // codes[0].size)
        check_number("batch_size", batch_size, at_least=1, whole=True)
        for start in range(0, len(codes), batch_size):
            part = slice(start, start + batch_size)
            batch = to_tensor(codes[part], self.device, torch.int64)
            of_part = [
                None if values is None else to_tensor(values[part], self.device)
                for values in conditions.arrays()
            ]
            yield part, batch, of_part

    def _by_component(self, batch, conditions, direction):
        """Return a function from a component to its logits, and log-weights ``(B, C)``."""
        logits_of = self.net.directions[direction]
        labels, *others = conditions
        if labels is None:
            # A network without classes does not look at them.
            labels = torch.zeros(len(batch), dtype=torch.int64, device=batch.device)
        first = labels * self.config.n_components
        log_weights = torch.as_tensor(self.config.log_weights, device=batch.device)
        return lambda c: logits_of(batch, first + c, *others), log_weights[labels]

    def _logits(self, codes, conditions, batch_size, direction=0):
        """Yield (slice, codes, logits ``(B, K, *grid)``)."""
        for part, batch, of_part in self._batches(codes, conditions, batch_size):
            logits_of, log_weights = self._by_component(batch, of_part, direction)
            if self.config.n_components == 1:
                logits = logits_of(0)
            else:
                logits = mixture_logits(
                    logits_of, batch, log_weights, reverse=bool(direction)
                )
            yield part, batch, logits

    @property
    def outside_code(self):
        """Code outside the mask in new grids; None for a prior without masks."""
        return self.config.outside_code

    def _marked(self, codes, mask):
        """Return checked stacks of codes, K outside, padded as in the training."""
        stacks = check_grids(
            codes, mask, n_codes=self.n_codes, spatial_dims=len(self.grid_shape)
        )
        if mask is not None:
            self._check_knows_masks()
        if not self.config.mixed_grids:
            return stacks
        return [
            pad_grids(stack, self.grid_shape, n_codes=self.n_codes) for stack in stacks
        ]

    def _check_knows_masks(self):
        if self.outside_code is None:
            raise ValueError(
                "mask: the prior was trained without one and does not know what "
                "outside is"
            )

    def _check_has(self, reverse):
        if reverse and self.net.reverse is None:
            raise ValueError(
                "reverse: the prior was trained for one order of the codes; train it "
                "with both_directions"
            )

    def log_prob(
        self, codes, *, mask=None, labels=None, covariates=None, batch_size=None
    ):
        """Compute the natural logarithm of the probability of whole grids.

        Of a prior for both directions, it is that of the mean of both probabilities.

        Parameters
        ----------
        codes : int array, shape (N, *grid), or list of such arrays
            Codes in [0, K). The grid may be another than that of the training
            codes, see :meth:`sample`; grids of a list may differ, and an entry may
            be one grid, of shape (*grid,).
        mask : bool array, shape (*grid,) or (N, *grid), or list of them, optional
            Positions that count, for a prior that was trained with a mask.
        labels : int array, shape (N,), optional
            Class of each grid, for a prior with classes.
        covariates : dict of array, shape (N,), optional
            Continuous conditions by name, for a prior that was trained with them; a
            number counts for all grids. Outside of the training's range a warning is
            logged.
        batch_size : int, optional
            Grids at a time.

        Returns
        -------
        log_prob : array, shape (N,), float64
            Sum over the positions that count; divide by ``-log(2)`` for bits. N is
            the number of all grids, of a list too.
        """
        stacks = self._marked(codes, mask)
        conditions = match_conditions(
            self.config, labels, covariates, sum(map(len, stacks))
        )
        by_direction = [
            self._log_prob(stacks, conditions, batch_size, direction)
            for direction in range(len(self.net.directions))
        ]
        return np.logaddexp.reduce(by_direction) - np.log(len(by_direction))

    def _log_prob(self, stacks, conditions, batch_size, direction):
        """Return the log-probabilities of all grids, in one order of their codes."""
        log_prob = np.empty(sum(map(len, stacks)))
        first = 0
        with inference(self.device):
            for stack in stacks:
                stop = first + len(stack)
                for part, batch, of_part in self._batches(
                    stack, conditions[first:stop], batch_size
                ):
                    of_grids = self._log_prob_of_batch(batch, of_part, direction)
                    log_prob[first:stop][part] = of_grids.cpu().numpy()
                first = stop
        return log_prob

    def surprisal(
        self,
        codes,
        *,
        mask=None,
        labels=None,
        covariates=None,
        reverse=False,
        batch_size=None,
    ):
        """Compare the length of each code with what was to be expected at its place.

        Parameters
        ----------
        codes, mask, labels, covariates, batch_size
            As for :meth:`log_prob`.
        reverse : bool, optional
            Judge codes by those after them, with a prior for both directions.

        Returns
        -------
        surprisal : Surprisal, or list of them
            ``nats``, ``entropy``, ``variance`` and ``p`` of each code, ``map``, and
            ``z`` of each grid, about N(0, 1) for grids that the prior draws. One for
            each entry of a list.

        Raises
        ------
        ValueError, TypeError
            As for :meth:`log_prob`; for the reverse order, if the prior has none.
        """
        self._check_has(reverse)
        stacks = self._marked(codes, mask)
        conditions = match_conditions(
            self.config, labels, covariates, sum(map(len, stacks))
        )
        is_list = is_list_of_arrays(codes)
        n_axes = len(self.grid_shape)
        results, first = [], 0
        for stack, given in zip(stacks, codes if is_list else [codes]):
            values = np.empty((4, *stack.shape))
            of_stack = conditions[first : first + len(stack)]
            with inference(self.device):
                for part, batch, logits in self._logits(
                    stack, of_stack, batch_size, int(reverse)
                ):
                    values[:, part] = surprisal_of(logits, batch).cpu().numpy()
            first += len(stack)
            # Back from the grid that it was padded to.
            own = (Ellipsis, *map(slice, np.shape(given)[-n_axes:]))
            inside = stack != self.n_codes
            results.append(Surprisal(*values[own], inside=inside[own]))
        return results if is_list else results[0]

    def _log_prob_of_batch(self, batch, conditions, direction):
        """Return the log-probability of whole grids, float64 ``(B,)``."""
        logits_of, log_weights = self._by_component(batch, conditions, direction)
        by_component = [
            log_prob_of(logits_of(c), batch).flatten(1).double().sum(1)
            for c in range(self.config.n_components)
        ]
        return (torch.stack(by_component, 1) + log_weights).logsumexp(1)

    def predict(
        self, codes, *, mask=None, labels=None, covariates=None, batch_size=None
    ):
        """Return the distribution of each code given those before it.

        Parameters
        ----------
        codes : int array, shape (N, *grid)
            Codes in [0, K). The grid may be another than that of the training
            codes, see :meth:`sample`.
        mask : bool array, shape (*grid,) or (N, *grid), optional
            Positions that count, for a prior that was trained with a mask.
        labels : int array, shape (N,), optional
            Class of each grid, for a prior with classes.
        covariates : dict of array, shape (N,), optional
            Continuous conditions by name, for a prior that was trained with them; a
            number counts for all grids. Outside of the training's range a warning is
            logged.
        batch_size : int, optional
            Grids at a time.

        Returns
        -------
        probabilities : array, shape (N, *grid, K), float32
            Sums to 1 over the last axis, where it counts.
        """
        codes = as_array(codes, "codes")
        (stack,) = self._marked(codes, mask)
        conditions = match_conditions(self.config, labels, covariates, len(stack))
        probabilities = np.empty((*stack.shape, self.n_codes), np.float32)
        with inference(self.device):
            for part, _, logits in self._logits(stack, conditions, batch_size):
                p = F.softmax(logits.movedim(1, -1), dim=-1)
                probabilities[part] = p.cpu().numpy()
        # Back from the grid that it was padded to.
        return probabilities[(slice(None), *map(slice, codes.shape[1:]))]

    def sample(
        self,
        n,
        *,
        first=0,
        random_seed=0,
        rng=None,
        temperature=1.0,
        top_k=None,
        top_p=1.0,
        labels=None,
        covariates=None,
        grid_shape=None,
        codes=None,
        keep=None,
        mask=None,
        reverse=False,
        batch_size=256,
        verbose=False,
    ):
        """Draw new grids of codes, or complete given ones.

        Image i of a seed is the same whatever `n` and `batch_size` are.

        Parameters
        ----------
        n : int
            Number of grids, at least 1.
        first : int, optional
            Number of the first one among those of the seed: ``sample(5, first=10)``
            gives the last five of ``sample(15)``.
        random_seed : int or numpy.random.Generator, optional
            Seed of the draws, at least 0; a generator draws one.
        rng : numpy.random.Generator, optional
            Draws the seed, in place of `random_seed`.
        temperature : float, optional
            Logits are divided by it: below 1 the likely codes become likelier; 0
            takes the likeliest code at each position.
        top_k : int, optional
            Draw from the `top_k` likeliest codes only. Like `top_p` and other
            temperatures, this changes the distribution: rare codes, and the variety
            that they make, get lost.
        top_p : float, optional
            Draw from the fewest codes whose probabilities sum to this, in (0, 1].
        labels : int or int array of shape (n,), optional
            Class of the grids, for a prior with classes.
        covariates : dict of float or array, shape (n,), optional
            Continuous conditions by name, for a prior that was trained with them.
        grid_shape : tuple of int, optional
            Another grid than that of the training codes, larger or smaller. A
            gated prior has learnt biases that depend on the absolute position:
            they are interpolated linearly to the grid. A plain one has none.
        codes : int array, shape (n, *grid) or (*grid,), optional
            Grids to complete, or one for all; with `keep`.
        keep : bool array, shape (n, *grid) or (*grid,), optional
            Which of `codes` stay; the others are drawn, in raster order, and their
            values do not matter. A draw is conditioned on what comes before it in
            that order: a code that is kept after it (further down, or further to
            the right in its row) has no influence on it.
        mask : bool array, shape (*grid,) or (n, *grid), optional
            Positions that count, for a prior that was trained with a mask; the others
            get `outside_code`. By default all of the grid.
        reverse : bool, optional
            Draw in the reverse order, with a prior for both directions: a draw is then
            conditioned on what comes after it.
        batch_size : int, optional
            Grids at a time; fewer where they would need too much memory.
        verbose : bool, optional
            Show a progress bar.

        Returns
        -------
        codes : array, shape (n, *grid), int32
            Codes in [0, K).

        Raises
        ------
        ValueError
            For fewer than one grid, a negative temperature, labels, codes or a mask of
            the wrong shape, or codes to keep that are out of range.
        TypeError
            For labels or codes that are not integers, or a mask that is not bool.
        """
        self._check_has(reverse)
        check_number("n", n, at_least=1, whole=True)
        check_number("first", first, at_least=0, whole=True)
        check_number("temperature", temperature, at_least=0)
        random_seed = seed_of(random_seed, rng)
        check_number("batch_size", batch_size, at_least=1, whole=True)
        if labels is not None and np.ndim(labels) == 0:
            labels = np.full(n, labels)
        if top_k is not None:
            check_number("top_k", top_k, at_least=1, at_most=self.n_codes, whole=True)
        if not 0 < check_number("top_p", top_p, at_least=0, at_most=1):
            raise ValueError(f"top_p must be above 0 and at most 1, got {top_p!r}")
        conditions = match_conditions(self.config, labels, covariates, n)
        codes, keep, grid_shape = self._completion(codes, keep, mask, n, grid_shape)
        wanted = grid_shape
        if mask is not None or (self.config.mixed_grids and wanted != self.grid_shape):
            self._check_knows_masks()
            codes, keep = fix_outside(
                codes, keep, mask, n=n, grid_shape=wanted, n_codes=self.n_codes
            )
            if self.config.mixed_grids:
                codes = pad_grids(codes, self.grid_shape, n_codes=self.n_codes)
                keep = pad_grids(keep, self.grid_shape, n_codes=True)
                grid_shape = codes.shape[1:]
        classes = self.draw_components(
            n,
            first=first,
            random_seed=random_seed,
            temperature=temperature,
            labels=conditions.labels,
            log_weights=self._weights_given(conditions, codes, keep, reverse),
        )
        axes = tuple(range(1, 1 + len(grid_shape)))
        if reverse and codes is not None:
            codes, keep = np.flip(codes, axes), np.flip(keep, axes)
        drawn = sample_codes(
            self.net.reverse if reverse else self.net,
            int(n),
            grid_shape=grid_shape,
            first=int(first),
            random_seed=int(random_seed),
            temperature=float(temperature),
            top_k=top_k and int(top_k),
            top_p=float(top_p),
            labels=classes,
            covariates=conditions.covariates,
            codes=codes,
            keep=keep,
            batch_size=int(batch_size),
            verbose=verbose,
        )
        drawn = np.flip(drawn, axes) if reverse else drawn
        drawn = drawn[(slice(None), *map(slice, wanted))]
        if self.outside_code is not None:
            drawn[drawn == self.n_codes] = self.outside_code
        return drawn

    def quantise(
        self,
        latents,
        codebook,
        *,
        price,
        mask=None,
        labels=None,
        covariates=None,
        batch_size=256,
        verbose=False,
    ):
        r"""Choose codes for latents by their distance and by their length.

        One position after the other, as in entropy-constrained quantisation
        :footcite:p:`Chou1989`, with the lengths that the codes then have:

        .. math::

            k = \arg\min_k |z - e_k|^2 - \lambda D \log p(k \mid \text{chosen before})

        Parameters
        ----------
        latents : array, shape (N, *grid, D), or list of such arrays
            Vectors to quantise, see :meth:`dipy_vqvae.VQVAEFit.latents`.
        codebook : array, shape (K, D)
            The codes' vectors.
        price : float
            Price of a nat, :math:`\lambda`, in units of the mean square of the latents'
            channels; above 0. A higher one gives fewer bits and more distortion.
        mask, labels, covariates
            As for :meth:`log_prob`.
        batch_size : int, optional
            Grids at a time.
        verbose : bool, optional
            Show a progress bar.

        Returns
        -------
        codes : array, shape (N, *grid), int32, or list of such arrays
            Outside of the mask they are `outside_code`.

        Raises
        ------
        ValueError, TypeError
            For a price that is not above 0, latents of another dimension than the
            codebook's, and as for :meth:`log_prob`.
        """
        if not check_number("price", price, at_least=0):
            raise ValueError("price must be above 0, got 0: encode without one")
        is_list = is_list_of_arrays(latents)
        entries = [as_array(z, "latents") for z in (latents if is_list else [latents])]
        codebook = np.asarray(codebook, np.float64)
        if any(z.shape[-1:] != codebook.shape[1:] for z in entries):
            raise ValueError(
                f"latents have {entries[0].shape[-1]} channels, the codebook "
                f"{codebook.shape[1]}"
            )
        empty = [np.zeros(z.shape[:-1], np.int32) for z in entries]
        padded = self._marked(empty if is_list else empty[0], mask)
        conditions = match_conditions(
            self.config, labels, covariates, sum(map(len, padded))
        )
        padded = [stack.copy() for stack in padded]
        choose_codes(
            self,
            padded,
            conditions,
            Distances(entries, codebook, price * codebook.shape[1]),
            batch_size=int(batch_size),
            verbose=verbose,
        )
        results = []
        for stack, own in zip(padded, empty):
            grid = own.shape[-len(self.grid_shape) :]
            chosen = stack[(slice(None), *map(slice, grid))]
            if self.outside_code is not None:
                chosen[chosen == self.n_codes] = self.outside_code
            results.append(chosen.reshape(own.shape))
        return results if is_list else results[0]

    def compress(
        self,
        codes,
        *,
        mask=None,
        labels=None,
        covariates=None,
        keep_mask=True,
        batch_size=256,
        verbose=False,
    ):
        """Compress grids of codes to about as many bits as :meth:`log_prob` says.

        All grids become one stream of a range coder :footcite:p:`Bamler2022`.
        Probabilities are rounded so that machines that round differently read the same
        codes :footcite:p:`Tian2023`. The bytes end with a checksum.

        Parameters
        ----------
        codes, mask, labels, covariates
            As for :meth:`log_prob`. Mask and conditions become a part of the bytes.
            Codes outside the mask are not kept.
        keep_mask : bool, optional
            Whether the mask becomes a part of the bytes. Without it, :meth:`decompress`
            has to be given the same mask.
        batch_size : int, optional
            Grids that go through the network at a time; it does not change what
            :meth:`decompress` gives.
        verbose : bool, optional
            Show a progress bar.

        Returns
        -------
        content : bytes
            For :meth:`decompress` of this prior, on any machine. The prior itself is
            not in them.

        Raises
        ------
        ValueError, TypeError
            As for :meth:`log_prob`.
        """
        check_number("batch_size", batch_size, at_least=1, whole=True)
        # Shapes are checked with the padding that lengths are computed with.
        padded = self._marked(codes, mask)
        n = sum(map(len, padded))
        conditions = match_conditions(self.config, labels, covariates, n)
        is_list = is_list_of_arrays(codes)
        entries = codes if is_list else [codes]
        n_axes = len(self.grid_shape)
        stacks = [
            stack[(slice(None), *map(slice, np.shape(entry)[-n_axes:]))]
            for stack, entry in zip(padded, entries)
        ]
        stream, check = encode_grids(
            self,
            stacks,
            conditions,
            self._shorter_in_reverse(padded, conditions),
            batch_size=int(batch_size),
            verbose=verbose,
        )
        has_mask = mask is not None
        packed = PackedGrids(
            shapes=[stack.shape for stack in stacks],
            is_single=[np.ndim(entry) == n_axes for entry in entries],
            is_list=is_list,
            inside=[stack != self.n_codes for stack in stacks] if has_mask else None,
            keeps_mask=has_mask and keep_mask,
            conditions=conditions,
            check=check,
            stream=stream,
        )
        return to_bytes(self, packed)

    def decompress(self, content, *, mask=None, batch_size=256, verbose=False):
        """Restore the codes of :meth:`compress`.

        Parameters
        ----------
        content : bytes
            What :meth:`compress` returned.
        mask : bool array or list of them, optional
            The mask that they were compressed with, if it is not in the bytes.
        batch_size : int, optional
            Grids that go through the network at a time.
        verbose : bool, optional
            Show a progress bar.

        Returns
        -------
        codes : int array, shape (N, *grid), int32, or list of such arrays
            As they were given, but for those outside the mask, which are
            `outside_code`.

        Raises
        ------
        ValueError
            If the bytes are damaged, of another prior or of a newer version, or if the
            codes are not those that were compressed.
        TypeError
            If they are no bytes, or the mask is not bool.
        """
        check_number("batch_size", batch_size, at_least=1, whole=True)
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise TypeError(f"content must be bytes, got {type(content).__name__}")
        masks_of = None if mask is None else partial(_masks_for, mask)
        packed = from_bytes(self, bytes(content), masks_of)
        stacks = decode_grids(self, packed, batch_size=int(batch_size), verbose=verbose)
        if self.outside_code is not None:
            for stack in stacks:
                stack[stack == self.n_codes] = self.outside_code
        stacks = [
            stack[0] if is_single else stack
            for stack, is_single in zip(stacks, packed.is_single)
        ]
        return stacks if packed.is_list else stacks[0]

    def _shorter_in_reverse(self, stacks, conditions):
        """Return which grids have fewer bits in the reverse order, bool (N,).

        The direction is a bit, so that no grid takes a bit more than `log_prob` says.
        """
        if self.net.reverse is None:
            return np.zeros(sum(map(len, stacks)), bool)
        forward, reverse = (
            self._log_prob(stacks, conditions, None, direction)
            for direction in range(2)
        )
        return reverse > forward

    def report(
        self,
        images,
        vqvae,
        *,
        mask=None,
        labels=None,
        covariates=None,
        validation_images=None,
        validation_mask=None,
        validation_labels=None,
        validation_covariates=None,
    ):
        """Report samples, rate and the training, with a verdict.

        Parameters
        ----------
        images : array, list of arrays, image of nibabel, file, or ImageCollection
            Images that the prior was trained on, which `vqvae` encodes; not their
            codes.
        vqvae : VQVAEFit
            The VQ-VAE for whose codes the prior is.
        mask : array or list, optional
            Masks of the images, as for :meth:`VQVAEFit.encode`.
        labels : int array, shape (N,), optional
            Class of each image, for a prior with classes.
        covariates : dict of array, shape (N,), optional
            Continuous conditions by name, for a prior that was trained with them.
        validation_images, validation_mask, validation_labels, validation_covariates
            Held-out images, as the others.

        Returns
        -------
        report : Report
            Shows itself in notebooks. It has a ``verdict``, ``figures`` by name, and
            ``save("report.html")``.

        Raises
        ------
        ValueError, TypeError, OSError
            As for :meth:`log_prob` and for :meth:`VQVAEFit.encode`.
        """
        # The one call into a folder above: the report reads fits, and is drawn last.
        from dipy_vqvae.report import View, prior_report

        if isinstance(images, GridList):
            raise TypeError(
                "images: got codes; pass the images that the prior was trained on, and "
                "the VQ-VAE that encodes them"
            )
        images, mask = vqvae.opened(images, mask=mask)
        codes = encode_all(
            vqvae, images, mask=mask, labels=labels, covariates=covariates
        )
        held_out = None
        if validation_images is not None:
            opened, validation_mask = vqvae.opened(
                validation_images, mask=validation_mask
            )
            held_out = encode_all(
                vqvae,
                opened,
                mask=validation_mask,
                labels=validation_labels,
                covariates=validation_covariates,
            )
        return prior_report(
            vqvae,
            self,
            codes,
            held_out=held_out,
            view=View.of_file(images.files[0], vqvae.spatial_dims)
            if hasattr(images, "files")
            else None,
        )

    def draw_components(
        self,
        n,
        *,
        first=0,
        random_seed=0,
        temperature=1.0,
        labels=None,
        log_weights=None,
    ):
        """Draw the component of each grid of a seed, for a prior that is a mixture.

        Parameters
        ----------
        n, first, random_seed, temperature
            As for :meth:`sample`, which draws the same.
        labels : int array, shape (n,), optional
            Class of each grid.
        log_weights : array, shape (n, C), optional
            Log-probabilities of the components, up to a constant; by default those of
            the training.

        Returns
        -------
        classes : int array, shape (n,)
            What the network takes as classes: label times C plus component.
        """
        labels = np.zeros(n, np.int64) if labels is None else labels
        if log_weights is None:
            log_weights = self.config.log_weights[labels]
        u = uniforms((int(random_seed), 1), int(first), int(first + n), 1)[:, 0]
        # Not on the default device of the process, which may be another one.
        drawn = draw(to_tensor(log_weights, "cpu"), to_tensor(u, "cpu"), temperature)
        return labels * self.config.n_components + drawn.numpy()

    def _weights_given(self, conditions, codes, keep, reverse):
        """Return log-weights of components given the codes before the first new one."""
        if keep is None or self.config.n_components == 1:
            return None
        labels = 0 if conditions.labels is None else conditions.labels
        # All before the first one that is drawn are kept.
        order = slice(None, None, -1 if reverse else 1)
        begun = keep.reshape(len(keep), -1)[:, order]
        begun = np.logical_and.accumulate(begun, axis=1)[:, order]
        known = np.where(begun.reshape(keep.shape), codes, self.n_codes)
        codes = np.where(keep, codes, 0)
        of_known = self._log_prob_of_known(codes, known, conditions, reverse)
        return self.config.log_weights[labels] + of_known

    def _log_prob_of_known(self, codes, known, conditions, reverse):
        """Return the log-probability of known codes under each component, ``(n, C)``.

        `known` is K where `codes` do not count.
        """
        log_prob = np.empty((len(codes), self.config.n_components))
        with inference(self.device):
            for part, batch, of_part in self._batches(codes, conditions, None):
                logits_of, _ = self._by_component(batch, of_part, int(reverse))
                counted = to_tensor(known[part], self.device, torch.int64)
                for c in range(self.config.n_components):
                    own = log_prob_of(logits_of(c), counted).flatten(1).double()
                    log_prob[part, c] = own.sum(1).cpu().numpy()
        return log_prob

    def _completion(self, codes, keep, mask, n, grid_shape):
        """Check the grids to complete, if any, and the shape of the grids to draw."""
        n_axes = len(self.grid_shape)
        if grid_shape is not None:
            grid_shape = per_axis("grid_shape", grid_shape, n_axes)
        if codes is None and keep is None:
            return None, None, self.grid_shape if grid_shape is None else grid_shape
        codes, keep = check_completion(
            codes,
            keep,
            n=n,
            n_codes=self.n_codes,
            spatial_dims=n_axes,
            grid_shape=grid_shape,
            mask=mask,
        )
        return codes, keep, codes.shape[1:]


def _masks_for(mask, shapes):
    """Return a mask for each stack (n, *grid) of some shapes."""
    masks = list(mask) if isinstance(mask, (list, tuple)) else [mask]
    if len(masks) != len(shapes):
        raise ValueError(f"mask: got {len(masks)} masks, {len(shapes)} are needed")
    for i, shape in enumerate(shapes):
        array = as_array(masks[i], "mask")
        if array.dtype != bool:
            raise TypeError(f"mask must be bool, got {array.dtype}")
        if array.shape not in (shape, shape[1:]):
            raise ValueError(
                f"mask must have shape {shape[1:]} or {shape}, got {array.shape}"
            )
        masks[i] = np.broadcast_to(array, shape)
    return masks
