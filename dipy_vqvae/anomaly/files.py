"""Detectors as files: both networks and what healthy subjects gave."""

from dataclasses import fields

import numpy as np

from dipy_vqvae.anomaly.maps import MapMaker
from dipy_vqvae.anomaly.null import SHARES, Null
from dipy_vqvae.anomaly.place import Places
from dipy_vqvae.prior import PixelCNNFit
from dipy_vqvae.settings import ANOMALY, SCORE
from dipy_vqvae.storage import load_model, save_model
from dipy_vqvae.vqvae import VQVAEFit

KIND = "anomaly"
_NETWORKS = {"vqvae": VQVAEFit, "prior": PixelCNNFit}


def save_detector(path, fit):
    """Write a detector."""
    maker = fit.maker
    config = {
        "score": fit.score,
        "tail": fit.tail,
        "n_restorations": maker.n_restorations,
        "smoothing": maker.smoothing,
        "random_seed": maker.random_seed,
        "scale": fit.scale,
    }
    arrays = {f"null.{f.name}": getattr(fit.null, f.name) for f in fields(Null)}
    for name, places in fit.places.items():
        arrays[f"places.{name}.mean"] = places.mean
        arrays[f"places.{name}.deviation"] = places.deviation
    description = {}
    for name in _NETWORKS:
        content = getattr(maker, name).to_content()
        config[name] = content["config"]
        description[name] = content["description"]
        arrays |= {f"{name}.{key}": a for key, a in content["arrays"].items()}
    save_model(path, kind=KIND, config=config, arrays=arrays, description=description)


def load_detector(path, *, use_cuda=False):
    """Read a detector; return the arguments of an `AnomalyFit`."""
    content = load_model(path, kind=KIND)
    description = content.description or {}
    config = dict(content.config)
    try:
        networks = {
            name: kind.from_content(
                config.pop(name),
                _part(content.arrays, f"{name}."),
                description.get(name),
                path=path,
                use_cuda=use_cuda,
            )
            for name, kind in _NETWORKS.items()
        }
        null = Null(**_part(content.arrays, "null."))
        scale = float(config.pop("scale"))
        settings = ANOMALY.check(ANOMALY.from_file(config))
        places = {
            name: Places(**_part(content.arrays, f"places.{name}."))
            for name in SCORE.of(settings["score"])
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} holds no anomaly detector: {error}") from error
    if not (_is_calibration(null, places) and 0 < scale < np.inf):
        raise ValueError(f"{path} holds no calibration of an anomaly detector")
    score, tail = settings.pop("score"), settings.pop("tail")
    return {
        "maker": MapMaker(**networks, **settings),
        "score": score,
        "tail": tail,
        "places": places,
        "scale": scale,
        "null": null,
    }


def _part(arrays, prefix):
    """Return the arrays whose names begin so, by the rest of their names."""
    n = len(prefix)
    return {name[n:]: a for name, a in arrays.items() if name.startswith(prefix)}


def _is_calibration(null, places):
    """Tell whether arrays of a file fit each other."""
    n = len(null.maxima)
    arrays = [null.maxima, null.clusters, null.z, null.values]
    for of_map in places.values():
        arrays += [of_map.mean, of_map.deviation]
        if of_map.mean.shape != of_map.deviation.shape or of_map.mean.ndim != 3:
            return False
    return (
        null.values.shape == (n, len(SHARES))
        and null.z.shape == null.clusters.shape == (n,)
        and null.image_z.shape == null.image_maxima.shape
        and all(np.isfinite(a).all() for a in arrays)
        and all((of_map.deviation > 0).all() for of_map in places.values())
    )
