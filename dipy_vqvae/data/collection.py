"""Images of many files, read when they are needed."""

from math import prod

import numpy as np

from dipy_vqvae.data.axes import list_sources, put_together, to_stack
from dipy_vqvae.data.checks import check_inside, check_values
from dipy_vqvae.data.file_cache import FileCache, check_unchanged, file_signature
from dipy_vqvae.data.formats.reading import open_values, read_image
from dipy_vqvae.data.formats.volumes import values_of_loaded
from dipy_vqvae.data.names import subject_of
from dipy_vqvae.display import html_table


class ImageCollection:
    """Read images of files when they are needed.

    Made by `open_images`. A subject is a file.

    Parameters
    ----------
    files : list of SourceFile
        Axes of each file.
    masks : list of SourceFile or None
        A mask for each file.
    spatial_dims : {2, 3}
        Slices or volumes.
    skip_empty : bool
        Whether a training leaves out constant images.
    cache_bytes : int
        Memory for compressed files, in bytes.
    slice_axis, volumes_as
        As of `open_images`.
    given : {"files", "image", "images"}, optional
        What the user passed: results for one image of nibabel, or for several, are
        given back as that or with a list for each.

    Attributes
    ----------
    counts : tuple of int
        Number of images of each file.
    shapes : tuple of tuple of int
        Spatial shape of the images of each file.
    """

    is_array = False

    def __init__(
        self,
        files,
        masks,
        *,
        spatial_dims,
        skip_empty,
        cache_bytes,
        slice_axis=2,
        volumes_as="images",
        given="files",
    ):
        self.files = tuple(files)
        self.masks = tuple(masks)
        self.spatial_dims = spatial_dims
        self.skip_empty = skip_empty
        self.cache_bytes = cache_bytes
        self.slice_axis = slice_axis
        self.volumes_as = volumes_as
        self.given = given
        # Asked for at every step: 10,000 files are not gone through each time.
        self.counts = tuple(file.n_volumes * file.n_slices for file in files)
        self.shapes = tuple(file.image_shape[:spatial_dims] for file in files)
        on_disk = [f for f in [*files, *filter(None, masks)] if f.loaded is None]
        self._signatures = {f.path: file_signature(f.path) for f in on_disk}
        self._cache = FileCache(cache_bytes)

    def __len__(self):
        return sum(self.counts)

    def __repr__(self):
        masked = ", with masks" * self.has_masks
        return (
            f"<ImageCollection: {len(self.files)} files, {len(self)} images of "
            f"{self._shapes_shown()}{masked}>"
        )

    def _repr_html_(self):
        rows = [
            ("files", f"{len(self.files):,}"),
            ("images", f"{len(self):,}"),
            ("shape of an image", self._shapes_shown()),
            ("channels", self.n_channels),
            ("masks", "yes" if self.has_masks else "no"),
            ("first file", self.files[0].path),
            ("last file", self.files[-1].path),
        ]
        return html_table("ImageCollection", rows)

    def _shapes_shown(self):
        shapes = ", ".join(str(shape) for shape in sorted(set(self.shapes))[:3])
        return shapes + ", ..." * (len(set(self.shapes)) > 3)

    @property
    def channel_axis(self):
        """Tell whether images have a last axis for channels."""
        return len(self.files[0].image_shape) > self.spatial_dims

    @property
    def n_channels(self):
        """Number of channels; 1 without an axis for them."""
        return self.files[0].image_shape[-1] if self.channel_axis else 1

    @property
    def has_masks(self):
        """Tell whether there are masks."""
        return self.masks[0] is not None

    @property
    def sources(self):
        """Locate each image in its file."""
        return list_sources(self.files)

    def read(self, index):
        """Read all images of a file.

        Parameters
        ----------
        index : int
            Which of `files`.

        Returns
        -------
        images : ndarray of shape (n, *spatial) or (n, *spatial, C)
            Values as stored; 0 outside a mask.

        Raises
        ------
        OSError
            If the file is gone or cannot be read.
        ValueError
            If it has changed since it was opened, is damaged, or has values that
            cannot be used (inside its mask, if there is one).
        """
        images = self.rows(index, slice(None))
        if not images.flags.writeable:  # they are those of the cache
            images = images.copy()
        return images if self.channel_axis else images[..., 0]

    def read_mask(self, index):
        """Read the masks of all images of a file.

        Parameters
        ----------
        index : int
            Which of `files`.

        Returns
        -------
        mask : ndarray of shape (n, *spatial), bool, or None
            None without masks.

        Raises
        ------
        OSError
            If the mask's file is gone or cannot be read.
        ValueError
            If it selects nothing, or cannot be used.
        """
        return self.mask_rows(index, slice(None))

    def rows(self, index, rows):
        """Return some images of a file, with an axis for channels.

        Parameters
        ----------
        index : int
            Which of `files`.
        rows : slice or int array
            Which of its images.

        Returns
        -------
        images : ndarray of shape (n, *spatial, C)
            Values as stored; 0 outside a mask.
        """
        file, path = self.files[index], self.files[index].path
        if file.is_sliceable:
            check_unchanged(path, self._signatures[path])
            images = _copy_images(open_values(file), file, rows)
            if self.has_masks:
                images = check_inside(images, self._mask(index, rows, images), path)
            else:
                images = check_values(images, path)
        else:
            # The values depend on the mask: they are 0 outside.
            key = (file.key, self.masks[index] and self.masks[index].key, "images")
            whole = self._cache.get(key, lambda: self._read(index))
            images = np.ascontiguousarray(whole[rows])
        return images if self.channel_axis else images[..., np.newaxis]

    def mask_rows(self, index, rows):
        """Return the masks of some images of a file, as `rows`; None without masks."""
        if not self.has_masks:
            return None
        return self._mask(index, rows, None)

    def name(self, index):
        """Return the name of a file or subject in messages."""
        return str(self.files[index].path)

    def mask_name(self, index):
        """Return the name of its mask in messages."""
        return str(self.masks[index].path)

    def put_back(self, index, results, *, fill=0):
        """Arrange results for the images of a file as they lie in the file.

        Parameters
        ----------
        index : int
            Which of `files`.
        results : ndarray of shape (n, ...)
            One result per image: reconstructions, or codes on another grid.
        fill : float, optional
            Not needed where there is a result for every image.

        Returns
        -------
        data : ndarray
            Results, with slices and volumes along the axes of the file.
        """
        return put_together(results, self.files[index], fill=fill)

    def give_back(self, results, *, are_images=False):
        """Return results for each file; images have channels as those of the files.

        Images for one of nibabel have its axes.
        """
        if are_images and not self.channel_axis:
            results = [images[..., 0] for images in results]
        if are_images and self.given != "files":
            results = [self.put_back(i, images) for i, images in enumerate(results)]
        return results[0] if self.given == "image" else results

    def select(self, indices):
        """Return the images of some of the files.

        Parameters
        ----------
        indices : sequence of int
            Which of `files`.

        Returns
        -------
        images : ImageCollection
            With a cache of its own.

        Raises
        ------
        ValueError
            If there are none.
        """
        indices = [int(index) for index in indices]
        if not indices:
            raise ValueError("a collection needs at least one file")
        return ImageCollection(
            [self.files[i] for i in indices],
            [self.masks[i] for i in indices],
            spatial_dims=self.spatial_dims,
            skip_empty=self.skip_empty,
            cache_bytes=self.cache_bytes,
            slice_axis=self.slice_axis,
            volumes_as=self.volumes_as,
        )

    def split(self, fraction, *, random_seed=0, groups=None):
        """Split by subjects into training and held-out images.

        Parameters
        ----------
        fraction : float
            Share of the subjects to hold out, in (0, 1); at least one is held
            out, and at least one is not.
        random_seed : int or numpy.random.Generator, optional
            Seed of the draw.
        groups : sequence, optional
            A label for each file, equal for the files of one subject; by
            default files whose names have the same ``sub-`` entity (BIDS) are of
            one, and others are one each.

        Returns
        -------
        others, held_out : ImageCollection
            In the order of the files.

        Raises
        ------
        ValueError
            If the fraction is out of range, or there is one subject only.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"fraction must be in (0, 1), got {fraction!r}")
        if groups is None:
            groups = [subject_of(file.path) for file in self.files]
        groups = list(groups)
        if len(groups) != len(self.files):
            raise ValueError(f"{len(groups)} groups for {len(self.files)} files")
        subjects = list(dict.fromkeys(groups))
        if len(subjects) < 2:
            raise ValueError(
                f"{self.files[0].path}: cannot hold out subjects, there is only one"
            )
        n_held = min(max(1, round(fraction * len(subjects))), len(subjects) - 1)
        order = np.random.default_rng(random_seed).permutation(len(subjects))
        chosen = {subjects[i] for i in order[:n_held]}
        held = [i for i, group in enumerate(groups) if group in chosen]
        others = [i for i, group in enumerate(groups) if group not in chosen]
        return self.select(others), self.select(held)

    def held_bytes(self, index):
        """Return the bytes that reading from a file keeps in memory for a while."""
        n_bytes = 0 if self.masks[index] is None else prod(self.masks[index].shape)
        if not self.files[index].is_sliceable:
            n_bytes += prod(self.files[index].shape) * self.files[index].dtype.itemsize
        return n_bytes

    def _read(self, index):
        """Return all images of a file, checked, for the cache."""
        file = self.files[index]
        data = self._read_file(file, allow_any=self.has_masks)
        images = _stack(data, file)
        if self.has_masks:
            mask = self._mask(index, slice(None), images)
            images = check_inside(images, mask, file.path)
        return np.ascontiguousarray(images)

    def _mask(self, index, rows, images):
        """Return masks as `rows`, with an axis if `images` have channels."""
        file = self.masks[index]
        whole = self._cache.get(
            (file.key, file.slice_axis, file.turn), lambda: self._read_mask(file)
        )
        # Volume by volume, slice by slice: one mask for all volumes comes again.
        rows = np.arange(self.counts[index])[rows]
        mask = whole[rows % len(whole)]
        if images is not None and self.channel_axis:
            mask = mask[..., np.newaxis]
        return mask

    def _read_mask(self, file):
        mask = _stack(self._read_file(file).reshape(file.shape) != 0, file)
        if not mask.any():
            raise ValueError(f"{file.path}: selects nothing, it is zero everywhere")
        return np.ascontiguousarray(mask)

    def _read_file(self, file, *, allow_any=False):
        if file.loaded is not None:
            values = values_of_loaded(file.loaded, file.shape)
            return check_values(values, file.path, allow_any=allow_any)
        check_unchanged(file.path, self._signatures[file.path])
        return read_image(file.path, allow_any=allow_any).data


def _stack(data, file):
    """Return all images of a file's array."""
    return to_stack(data, **file.layout)


def _copy_images(values, file, rows):
    """Copy some images of a mapped file into memory."""
    images = np.arange(file.n_volumes * file.n_slices)[rows]
    picked = []
    for volume, position in zip(*np.divmod(images, file.n_slices)):
        # The volume axis is last, or there are no slices: it does not move them.
        index = [slice(None)] * len(file.shape)
        if file.volume_axis is not None:
            index[file.volume_axis] = int(volume)
        if file.slice_axis is not None:
            index[file.slice_axis] = int(position)
        if file.turn is None:
            picked.append(np.asarray(values[tuple(index)]))
        else:
            picked.append(_pick_turned(values, index, file))
    stack = np.stack(picked)
    # Of volumes only patches may be needed: transposing them whole would be slow.
    return stack if file.slice_axis is None else np.ascontiguousarray(stack)


def _pick_turned(values, index, file):
    """Copy one slice of a plane, whose position is counted along the turned axis."""
    axis, turned = file.slice_axis, file.turn.axes.index(file.slice_axis)
    position = index[axis]
    if file.turn.flips[turned]:
        position = file.n_slices - 1 - position
    index[axis] = slice(position, position + 1)
    part = file.turn.to_ras(np.asarray(values[tuple(index)]))
    return part.take(0, axis=turned)
