"""Write the options of the commands into doc/commands.md, from their declarations.

    python doc/update_options.py

The tables stand between two markers in the section of each command.
"""

from importlib import import_module
from pathlib import Path
import re

from dipy_vqvae.workflows.command import help_text, metavar, options_for, shown_name

PAGE = Path(__file__).resolve().with_name("commands.md")
FLOWS = {
    "dipy_validate_vqvae": ("validate", "ValidateVQVAEFlow"),
    "dipy_fetch_mnist": ("fetch", "FetchMnistFlow"),
    "dipy_fit_vqvae": ("fit_vqvae", "FitVQVAEFlow"),
    "dipy_fit_pixelcnn": ("fit_pixelcnn", "FitPixelCNNFlow"),
    "dipy_encode_vqvae": ("encode", "EncodeVQVAEFlow"),
    "dipy_decode_vqvae": ("decode", "DecodeVQVAEFlow"),
    "dipy_compress_vqvae": ("compress", "CompressVQVAEFlow"),
    "dipy_decompress_vqvae": ("decompress", "DecompressVQVAEFlow"),
    "dipy_reconstruct_vqvae": ("reconstruct", "ReconstructVQVAEFlow"),
    "dipy_sample_vqvae": ("sample", "SampleVQVAEFlow"),
    "dipy_describe_vqvae": ("describe", "DescribeVQVAEFlow"),
    "dipy_fit_anomaly": ("fit_anomaly", "FitAnomalyFlow"),
    "dipy_detect_anomaly": ("detect_anomaly", "DetectAnomalyFlow"),
}
_SECTION = re.compile(
    r"(?P<begin><!-- options of (?P<name>\w+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)


def tables(flow):
    """Write a table for each group of a workflow's options.

    Parameters
    ----------
    flow : type
        The workflow.

    Returns
    -------
    text : str
    """
    text = "\n".join(table(group) for group in flow.run.groups)
    if flow.outputs_per_input:
        # DIPY's own, for commands that write outputs for each input.
        own = options_for(flow)
        text += f"| `--out_strat` | absolute | {own['out_strat']['help']} |\n"
        text += f"| `--mix_names` |  | {own['mix_names']['help']} |\n"
    return text


def table(group):
    """Write the table of a group of options."""
    lines = [f"| {group.title} | default | |", "| --- | --- | --- |"]
    for name, option in group.options.items():
        shown = f"`{shown_name(name, option)}`"
        values = metavar(option)
        if values:
            shown += " " + values.replace("|", " \\| ")
        default = option.default
        if default is None or default is False:
            default = ""
        lines.append(f"| {shown} | {default} | {help_text(option)} |")
    return "\n".join([*lines, ""])


def updated(text):
    """Return a page with the tables of the commands as they are.

    Parameters
    ----------
    text : str
        The page.

    Returns
    -------
    text : str
    """

    def section(match):
        module, flow = FLOWS[match["name"]]
        module = import_module(f"dipy_vqvae.workflows.{module}")
        return f"{match['begin']}\n{tables(getattr(module, flow))}\n{match['end']}"

    return _SECTION.sub(section, text)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
