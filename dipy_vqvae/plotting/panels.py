"""Axes for pictures."""


def new_panels(n_rows, n_columns, *, side=2.0):
    """Make a figure of axes without ticks, `side` inches each.

    Parameters
    ----------
    n_rows, n_columns : int
        Number of axes.
    side : float, optional
        Width and height of an axes, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : array of matplotlib.axes.Axes, shape (n_rows, n_columns)
    """
    # pyplot shows figures in notebooks; nothing else here needs it.
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        squeeze=False,
        figsize=(side * n_columns + 1, side * n_rows + 0.5),
        layout="constrained",
    )
    for place in axes.flat:
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
    return figure, axes


def show(axes, picture, limits=(None, None), *, cmap="gray", title="", marks=()):
    """Show a picture (H, W) or (H, W, 3); return what a colour bar needs.

    `marks` are letters of directions, see `dipy_vqvae.report.View.marks`.
    """
    low, high = limits
    axes.set_title(title, fontsize="small")
    for left, top, dx, dy, letter in marks:
        axes.annotate(
            letter,
            # Pixels are centred on whole numbers.
            (left - 0.5, top - 0.5),
            xytext=(6 * dx, -6 * dy),
            textcoords="offset points",
            ha="center",
            va="center",
            color="tab:orange",
            fontsize="x-small",
            weight="bold",
        )
    return axes.imshow(picture, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
