"""The workflow that calibrates an anomaly detector."""

from dataclasses import replace
import logging

from dipy_vqvae.settings import ANOMALY, Any, Setting
from dipy_vqvae.workflows.anomaly import (
    ERODE,
    check_conditions,
    check_rim,
    eroded,
    keep_calibration,
    warn_of_voxel_size,
)
from dipy_vqvae.workflows.command import (
    ANOMALY_PAPER,
    HTML,
    INPUT_FILES,
    MASK_FILES,
    OUT_DIR,
    PIXELCNN_PAPER,
    SLICE_AXIS,
    USE_CUDA,
    VQVAE_FILE,
    VQVAE_PAPER,
    Group,
    VQVAEWorkflow,
    announce,
    check_device,
    model_file,
    options_of,
    output,
    refuse_several,
    settings_from,
    takes_options,
)
from dipy_vqvae.workflows.fitting import write_report
from dipy_vqvae.workflows.inputs import images_and_masks, masks_or_none
from dipy_vqvae.workflows.reading import keep_reading, reading_of

logger = logging.getLogger("dipy_vqvae")


class FitAnomalyFlow(VQVAEWorkflow):
    """Calibrate an anomaly detector, see :class:`dipy_vqvae.AnomalyModel`."""

    short_name = "fit_anomaly"
    papers = (VQVAE_PAPER, PIXELCNN_PAPER, ANOMALY_PAPER)

    @takes_options(
        Group(
            "What goes in",
            {
                "vqvae_file": VQVAE_FILE,
                "pixelcnn_file": Setting(
                    None,
                    Any(),
                    "Prior, as written by dipy_fit_pixelcnn, best with --both_directions "
                    "and, for slices, --condition slice_position.",
                    is_required=True,
                ),
                "input_files": replace(
                    INPUT_FILES,
                    doc=f"{INPUT_FILES.doc} Healthy subjects, a file for each, that the "
                    "models were not trained on: at least 5, and at least 19 for a rate "
                    "of 0.05.",
                ),
                "mask_files": replace(
                    MASK_FILES,
                    doc=f"{MASK_FILES.doc} A mask of the brain matters more than any "
                    "other option.",
                ),
                "erode": ERODE,
                "slice_axis": SLICE_AXIS,
            },
        ),
        Group("The detector", options_of(ANOMALY)),
        Group("The computation", {"use_cuda": USE_CUDA}),
        Group(
            "What comes out",
            {
                "out_dir": OUT_DIR,
                "out_anomaly": output(
                    "anomaly.safetensors",
                    "The detector: both models and the calibration in one file.",
                    (".safetensors",),
                    is_result=True,
                ),
                "out_report": output(
                    "anomaly_report.html",
                    "Report: healthy subjects' scores, thresholds, rates of errors.",
                    HTML,
                ),
            },
        ),
    )
    def run(self, options):
        """Calibrate a detector of anomalies on healthy subjects.

        Nothing is trained: healthy subjects tell what values a healthy scan has at each
        place, and so how often a voxel of one, or a whole scan, is taken for unlike the
        training scans. Not for clinical use.
        """
        refuse_several("dipy_fit_anomaly")
        vqvae_file = model_file(options.vqvae_file, kind="vqvae")
        pixelcnn_file = model_file(options.pixelcnn_file, kind="pixelcnn")
        paths, masks = images_and_masks(options.input_files, options.mask_files)
        check_rim(options.erode, masks)
        plan = self.plan_outputs(
            {"out_anomaly": options.out_anomaly, "out_report": options.out_report},
            out_dir=options.out_dir,
            inputs=[vqvae_file, pixelcnn_file, *paths, *filter(None, masks)],
        )
        use_cuda = check_device(options.use_cuda)
        from dipy_vqvae.anomaly import AnomalyModel
        from dipy_vqvae.prior import PixelCNNFit
        from dipy_vqvae.vqvae import VQVAEFit, check_pair

        vqvae = VQVAEFit.load(vqvae_file, use_cuda=use_cuda)
        prior = PixelCNNFit.load(pixelcnn_file, use_cuda=use_cuda)
        check_pair(vqvae, prior, vqvae_name=vqvae_file, prior_name=pixelcnn_file)
        check_conditions(prior, pixelcnn_file)
        reading = reading_of(vqvae, slice_axis=options.slice_axis)
        keep_reading(vqvae, reading)
        has_masks = masks[0] is not None
        keep_calibration(vqvae, erode=options.erode, has_masks=has_masks)
        model = AnomalyModel(vqvae, prior, **settings_from(ANOMALY, options))
        axis = reading.slice_axis if vqvae.spatial_dims == 2 else None
        with eroded(masks, options.erode, slice_axis=axis) as mask_files:
            announce("Calibrating on", paths, vqvae_file, pixelcnn_file)
            images = open_subjects(vqvae, paths, mask_files, reading)
            fit = model.fit(images, verbose=self.verbose)
        fit.save(plan.single["out_anomaly"])
        logger.info("Wrote %s", plan.single["out_anomaly"])
        logger.info(describe_rates(fit))

        def make_report():
            from dipy_vqvae.report import calibration_report

            return calibration_report(fit, list(map(str, paths)), has_masks=has_masks)

        write_report(plan.single["out_report"], make_report)


def open_subjects(vqvae, paths, masks, reading):
    """Open files as subjects, with the axes of the training images."""
    from dipy_vqvae.data import open_images

    images = open_images(
        paths,
        spatial_dims=vqvae.spatial_dims,
        slice_axis=reading.slice_axis,
        volumes_as=reading.volumes_as,
        mask_files=masks_or_none(masks),
    )
    for file in images.files:
        warn_of_voxel_size(file, reading)
    return images


def describe_rates(fit):
    """Say in one sentence what rates of errors the healthy subjects can tell."""
    n = fit.null.n_subjects
    return (
        f"{n} healthy subjects: p-values of subjects and family-wise rates of at least "
        f"{1 / (n + 1):.2g} can be told"
    )
