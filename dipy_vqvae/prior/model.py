"""The settings of a PixelCNN prior, and its fit to codes."""

import numpy as np

from dipy_vqvae.device import device_of_training, seeded
from dipy_vqvae.prior.components import with_components
from dipy_vqvae.prior.conditions import Conditions, match_conditions
from dipy_vqvae.prior.config import PixelCNNConfig
from dipy_vqvae.prior.data import (
    training_codes,
    training_conditions,
    variant_codes,
)
from dipy_vqvae.prior.data import validation_codes as check_validation
from dipy_vqvae.prior.fit import PixelCNNFit
from dipy_vqvae.prior.task import PixelCNNTask
from dipy_vqvae.settings import (
    PIXELCNN,
    PIXELCNN_TRAINING,
    Configured,
    takes_settings,
)
from dipy_vqvae.storage import fingerprint
from dipy_vqvae.training import HasWeights, TrainingOptions, today, train


class PixelCNNModel(HasWeights, Configured):
    """Autoregressive prior over grids of codes.

    The probability of a grid is the product over its positions, in raster order,
    of the probability of each code given those before it
    :footcite:p:`vandenOord2016b`.

    Parameters
    ----------
    {settings}

    Raises
    ------
    ValueError
        From ``fit``, for a setting that is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import dipy_vqvae as dv
    >>> codes = np.random.default_rng(0).integers(0, 4, (64, 3, 3))
    >>> model = dv.PixelCNNModel(n_codes=4, n_channels=8, n_layers=2)
    >>> prior = model.fit(codes, n_epochs=1)
    >>> prior.sample(5).shape
    (5, 3, 3)
    >>> prior.log_prob(codes).shape
    (64,)

    References
    ----------
    .. footbibliography::
    """

    SETTINGS = PIXELCNN
    FIT = PixelCNNFit
    POSITIONAL = ("n_codes",)

    @takes_settings(PIXELCNN_TRAINING)
    def fit(
        self,
        codes,
        *,
        mask=None,
        labels=None,
        covariates=None,
        variants=None,
        spatial_dims=None,
        validation_codes=None,
        validation_mask=None,
        validation_labels=None,
        validation_covariates=None,
        checkpoint=None,
        verbose=False,
        **training,
    ):
        """Train on grids of codes.

        Parameters
        ----------
        codes : int array, shape (N, *grid), or list of such arrays
            Codes in [0, K), one, two or three axes each. Grids of a list may differ
            in shape, and an entry may be one grid, of shape (*grid,).
        mask : bool array, shape (*grid,) or (N, *grid), or list of them, optional
            Positions that count. Codes elsewhere have no influence: the prior sees
            that they are outside, and not what they are. Grids with nothing inside
            are left out. Smaller grids of a list end where they end.
        labels : int array, shape (N,), optional
            Class of each grid, from 0 on: the prior is then conditioned on it.
        covariates : dict of array, shape (N,), optional
            Continuous conditions of each grid by name, such as ``{"age": ages}``, or a
            data frame. Their names and ranges are kept in the model.
        variants : list of int arrays, each as `codes`, optional
            Codes of changed copies of the same images, such as shifted ones (see
            :meth:`dipy_vqvae.VQVAEFit.encode`), for less overfitting
            :footcite:p:`Jun2020`. Two thirds of the grids of a step are from them. The
            prior is told which variant a grid is, and gives likelihoods and samples of
            the images themselves.
        spatial_dims : int, optional
            Axes of a grid; needed for a list that is not of :meth:`VQVAEFit.encode`.
        validation_codes, validation_mask, validation_labels, validation_covariates : optional
            Held-out grids, as the others, for the validation loss after each epoch.
        checkpoint : str or Path, optional
            File to save the state of the training in; if it exists, the training
            continues from it.
        verbose : bool, optional
            Show a progress bar.
        {settings}

        Returns
        -------
        fit : PixelCNNFit
            The trained prior. The model stays as it was.

        Raises
        ------
        ValueError, TypeError
            For codes, labels or settings that cannot be used.
        """
        settings = self.checked()
        options = TrainingOptions(
            **PIXELCNN_TRAINING.check(training), random_seed=settings["random_seed"]
        )
        n_codes = settings["n_codes"]
        data = training_codes(codes, mask, n_codes=n_codes, spatial_dims=spatial_dims)
        n_classes, ranges = training_conditions(labels, covariates, len(data))
        sets, given = [data], [(labels, covariates)]
        if validation_codes is not None:
            held_out = check_validation(
                validation_codes, validation_mask, n_codes=n_codes, training=data
            )
            sets.append(held_out)
            given.append((validation_labels, validation_covariates))
        elif options.patience is not None:
            raise ValueError("patience needs validation_codes")
        variants = variant_codes(variants, mask, n_codes=n_codes, training=data)
        config = self._config(
            sets,
            settings,
            n_classes=n_classes,
            covariates=ranges,
            n_variants=len(variants),
        )
        conditions = [
            match_conditions(config, *values, len(data), prefix=prefix)
            for data, values, prefix in zip(sets, given, ("", "validation_"))
        ]
        shape = {"grid_shape": config.grid_shape, "n_codes": config.n_codes}
        arrays = [data.to_array(c, **shape) for data, c in zip(sets, conditions)]
        described = [_describe(*part) for part in arrays]
        if config.n_components > 1:
            config, arrays = with_components(
                config, arrays, random_seed=settings["random_seed"]
            )
        variants = [data.to_array(Conditions(), **shape)[0] for data in variants]
        task = self._task(config, arrays, described, variants, settings)
        history = train(task, options, checkpoint=checkpoint, verbose=verbose)
        description = {
            **task.description,
            "fitting": options.of_consequence(),
            "date": today(),
        }
        return PixelCNNFit(
            task.module.eval(), config, history=history, description=description
        )

    def _config(self, sets, settings, **conditions):
        """Return the configuration of the network for some sets of codes."""
        # Room for all of them: a held-out grid may be the largest.
        grids = {stack.shape[1:] for data in sets for stack in data.stacks}
        return PixelCNNConfig(
            **{name: settings[name] for name in PIXELCNN.of_network()},
            grid_shape=tuple(map(max, zip(*grids))),
            **conditions,
            outside_code=sets[0].outside_code,
            mixed_grids=len(grids) > 1,
        )

    def _task(self, config, arrays, described, variants, settings):
        """Return the training task: the network, the codes and what describes them."""
        codes, conditions = arrays[0]
        description = {
            "model": self.of_consequence(),
            "training_codes": described[0],
        }
        if variants:
            variants = np.stack(variants)
            description["variants_fingerprint"] = fingerprint(variants)
        validation = None
        if len(arrays) > 1:
            validation = arrays[1]
            description["validation_codes"] = described[1]
        device = device_of_training(settings["use_cuda"])
        with seeded(settings["random_seed"]):
            net = config.build().to(device)
        return PixelCNNTask(
            net,
            codes,
            conditions=conditions,
            variants=variants,
            class_nats=-config.log_weights.ravel(),
            mixed_precision=settings["mixed_precision"],
            validation=validation,
            description=description,
        )


# For `PixelCNNFit.model`: a fit does not import what makes it.
PixelCNNFit.MODEL = PixelCNNModel


def _describe(codes, conditions):
    """Return what identifies a set of codes, for model files and checkpoints."""
    description = {
        "number": len(codes),
        "grid_shape": list(codes.shape[1:]),
        "fingerprint": fingerprint(codes),
    }
    for name in ("labels", "covariates"):
        if (values := getattr(conditions, name)) is not None:
            description[f"{name}_fingerprint"] = fingerprint(values)
    return description
