"""The workflow that finds what in scans is unlike the training scans."""

from dataclasses import replace
import logging

from dipy_vqvae.settings import Any, Choice, Real, Setting
from dipy_vqvae.workflows.anomaly import (
    ERODE,
    check_conditions,
    check_rim,
    eroded,
    rim_of,
    warn_of_voxel_size,
)
from dipy_vqvae.workflows.coding import (
    FileTask,
    describe_model,
    process_files,
    raise_for_failed,
    read_file,
)
from dipy_vqvae.workflows.command import (
    ANOMALY_PAPER,
    BIDS,
    HTML,
    INPUT_FILES,
    MASK_FILES,
    NIFTI,
    OUT_DIR,
    PIXELCNN_PAPER,
    USE_CUDA,
    VQVAE_PAPER,
    Group,
    UsageError,
    VQVAEWorkflow,
    announce,
    check_device,
    detector_file,
    files,
    is_first,
    output,
    takes_options,
)
from dipy_vqvae.workflows.detection import detect
from dipy_vqvae.workflows.fitting import write_report
from dipy_vqvae.workflows.inputs import images_and_masks
from dipy_vqvae.workflows.reading import reading_of

logger = logging.getLogger("dipy_vqvae")


class DetectAnomalyFlow(VQVAEWorkflow):
    """Find anomalies in scans, see :class:`dipy_vqvae.AnomalyFit`."""

    short_name = "detect_anomaly"
    papers = (VQVAE_PAPER, PIXELCNN_PAPER, ANOMALY_PAPER)
    outputs_per_input = True

    @takes_options(
        Group(
            "What goes in",
            {
                "anomaly_file": Setting(
                    None,
                    Any(),
                    "Detector, as written by dipy_fit_anomaly.",
                    is_required=True,
                ),
                "input_files": INPUT_FILES,
                "mask_files": replace(
                    MASK_FILES,
                    doc=f"{MASK_FILES.doc} Made as those of the calibration.",
                ),
                "erode": replace(
                    ERODE,
                    default=None,
                    doc="Width in mm of the rim of each mask that does not count; by "
                    "default that of the calibration.",
                ),
                "label_files": files(
                    "Known lesions, nonzero, as mask_files: with them the report "
                    "compares nominal with realised rates."
                ),
            },
        ),
        Group(
            "The errors",
            {
                "alpha": Setting(
                    0.05,
                    Real(0, 1, is_low_open=True, is_high_open=True),
                    "Rate of errors.",
                ),
                "error": Setting(
                    "fwe",
                    Choice("fwe", "fdr", "fpr"),
                    "What the rate is of: healthy subjects with any voxel found (fwe), "
                    "false ones among the voxels found in a subject (fdr), or voxels of "
                    "healthy subjects (fpr).",
                ),
            },
        ),
        Group("The computation", {"use_cuda": USE_CUDA}),
        Group(
            "What comes out",
            {
                "out_dir": OUT_DIR,
                "bids": BIDS,
                "out_zmap": output(
                    "zmap.nii.gz",
                    "Signed scores of each input, in standard deviations of healthy "
                    "subjects, negative where it is darker than expected.",
                    NIFTI,
                ),
                "out_log10p": output(
                    "log10p.nii.gz",
                    "-log10 p of each voxel, p as the share of a healthy subject's.",
                    NIFTI,
                ),
                "out_lesions": output(
                    "lesions.nii.gz",
                    "1 where the input is unlike the training scans, at the rate of "
                    "errors.",
                    NIFTI,
                ),
                "out_restored": output(
                    "restored.nii.gz",
                    "What each input would be if it were like the training scans.",
                    NIFTI,
                ),
                "out_scores": output(
                    "scores.csv",
                    "Table with a row for each input: surprisal z and its p; largest "
                    "score and its p; how unlike healthy scans it is as a whole, blur "
                    "included (atypicality), and its p; number and volume in mm3 of the clusters, largest "
                    "one, and the peak in mm.",
                ),
                "out_report": output(
                    "detection_report.html",
                    "Report: subjects among the healthy ones, and their maps.",
                    HTML,
                ),
            },
        ),
    )
    def run(self, options):
        """Find what in scans is unlike the training scans, with a known rate of errors.

        Every input gets maps with its grid and affine. With several inputs, the names of
        the maps begin with that of the input. Not for clinical use.
        """
        anomaly_file = detector_file(options.anomaly_file)
        paths, masks = images_and_masks(options.input_files, options.mask_files)
        check_rim(options.erode, masks)
        labels = [None] * len(paths)
        if options.label_files:
            _, labels = images_and_masks(
                options.input_files, options.label_files, option="label_files"
            )
        maps = ("out_zmap", "out_log10p", "out_lesions", "out_restored")
        plan = self.plan_outputs(
            {"out_scores": options.out_scores, "out_report": options.out_report},
            out_dir=options.out_dir,
            inputs=[anomaly_file, *paths, *filter(None, [*masks, *labels])],
            per_input=(paths, {name: getattr(options, name) for name in maps}),
            bids=options.bids,
        )
        use_cuda = check_device(options.use_cuda)
        from dipy_vqvae.anomaly import AnomalyFit

        fit = AnomalyFit.load(anomaly_file, use_cuda=use_cuda)
        check_conditions(fit.maker.prior, anomaly_file)
        try:
            select = fit.selection(options.alpha, options.error)
        except ValueError as error:
            raise UsageError(f"--{error}") from None
        announce("Mapping", paths, anomaly_file)
        model = describe_model(anomaly_file, fit.maker.vqvae)
        reading = reading_of(fit.maker.vqvae)
        axis = reading.slice_axis if fit.maker.vqvae.spatial_dims == 2 else None
        of_labels, of_masks = dict(zip(paths, labels)), dict(zip(paths, masks))

        def compute(task):
            opened = read_file(
                fit.maker.vqvae, task.path, reading=reading, mask_file=task.mask_file
            )
            warn_of_voxel_size(opened.file, reading)
            return detect(
                fit,
                opened,
                select,
                label_file=of_labels[task.path],
                restored=options.out_restored is not None,
            )

        def save(task, detection):
            _save_maps(task.outputs, detection)
            mask_file = of_masks[task.path]
            plan.describe(task.outputs, task.path, model, mask_file=mask_file)
            return detection.record

        rim = rim_of(fit.maker.vqvae, options.erode, has_masks=masks[0] is not None)
        with eroded(masks, rim, slice_axis=axis) as mask_files:
            tasks = [FileTask(*item) for item in zip(paths, plan.rows, mask_files)]
            records = process_files(tasks, compute, save, verbose=self.verbose)
        if is_first():
            done = [record for record in records if record is not None]
            _save_summary(fit, plan.single, done, options)
        raise_for_failed(tasks, records)


def _save_maps(outputs, detection):
    from dipy_vqvae.workflows.results import save_image

    file = detection.opened.file
    for option, volume in detection.maps.items():
        if outputs[option]:
            save_image(outputs[option], volume, file.affine, space=file.space)
            logger.info("Wrote %s", outputs[option])


def _save_summary(fit, outputs, records, options):
    """Write the table and the report of the files that did not fail."""
    from dipy_vqvae.workflows.results import save_table

    if outputs["out_scores"] and records:
        save_table(outputs["out_scores"], [record.row for record in records])
        logger.info("Wrote %s", outputs["out_scores"])

    def make_report():
        from dipy_vqvae.report import detection_report

        return detection_report(
            fit,
            records,
            alpha=options.alpha,
            error=options.error,
            has_masks=bool(options.mask_files),
        )

    if records:
        write_report(outputs["out_report"], make_report)
