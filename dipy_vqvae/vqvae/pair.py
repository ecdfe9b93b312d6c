"""A VQ-VAE and the prior that is for its codes."""

from dipy_vqvae.vqvae.coded_images import codebook_fingerprint

#: Entry of a prior's description: the fingerprint of the codebook that it is for.
CODEBOOK_ENTRY = "codebook"


def check_pair(vqvae, prior, *, vqvae_name="the VQ-VAE", prior_name="the prior"):
    """Refuse a prior that is not for the codes of a VQ-VAE.

    A prior that was not fitted by dipy_fit_pixelcnn does not name its codebook: only the
    number and the grid of the codes are compared.

    Parameters
    ----------
    vqvae : VQVAEFit
        The VQ-VAE.
    prior : PixelCNNFit
        The prior.
    vqvae_name, prior_name : str or Path, optional
        What messages call them.

    Raises
    ------
    ValueError
        If they do not belong together.
    """
    if prior.n_codes != vqvae.n_codes:
        raise ValueError(
            f"{prior_name} is for {prior.n_codes} codes, but {vqvae_name} has "
            f"{vqvae.n_codes}: fit the prior on the codes of this VQ-VAE"
        )
    codebook = prior.description.get(CODEBOOK_ENTRY)
    if codebook is not None:
        if codebook != codebook_fingerprint(vqvae):
            raise ValueError(
                f"{prior_name} was fitted on codes of another VQ-VAE than {vqvae_name}"
            )
    elif tuple(prior.grid_shape) != tuple(vqvae.latent_shape):
        raise ValueError(
            f"{prior_name} is for codes on a grid of {tuple(prior.grid_shape)}, but "
            f"{vqvae_name} has {tuple(vqvae.latent_shape)}: fit the prior on the codes "
            "of this VQ-VAE"
        )
