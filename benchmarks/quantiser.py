"""What the nearest code costs, in time and in memory.

Nearest codes of 1,000,000 vectors of 64 dimensions among 1,024 codes, beside the
plain matrix product of the same shapes, which is the arithmetic that it cannot do
without, and beside the quantiser of vector-quantize-pytorch (on a tenth of the
vectors, multiplied, for it keeps all distances in memory).

    python benchmarks/quantiser.py
    python benchmarks/quantiser.py --cuda

The times are taken in turns. The memory is that of one call in a process of its own:
the most that was resident (on a GPU: allocated) beyond the vectors, the codebook and
what comes out. The product is timed at once and in blocks of rows, as the assignment
does it; the quicker one counts.
"""

from statistics import median
import subprocess
import sys

from common import begin, make_parser, print_table, resident, seconds, synchronise
import torch

from dipy_vqvae.nn import nearest_code, rows_at_a_time

N_VECTORS, DIM, N_CODES = 1_000_000, 64, 1024
LARGEST_RATIO, LARGEST_MEMORY = 2.5, 256
MIB = 2**20


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--vectors", default=N_VECTORS, type=int)
    parser.add_argument("--dim", default=DIM, type=int)
    parser.add_argument("--codes", default=N_CODES, type=int)
    parser.add_argument("--repeats", default=7, type=int)
    # The call whose memory is measured, in the process that the script starts.
    parser.add_argument("--memory-of", choices=CALLS, help="print the MiB of one call")
    args = parser.parse_args()
    if args.quick:
        args.vectors, args.repeats = min(args.vectors, 40_000), 2
    if args.memory_of:
        print(memory_of_one_call(args))
        return
    device = begin(
        args,
        f"{args.vectors:,} vectors of {args.dim} dimensions, {args.codes:,} codes; "
        f"medians of {args.repeats} repeats in turns.",
        packages=("vector-quantize-pytorch",),
    )
    vectors, codebook = inputs(args, device)
    calls = {name: make(codebook) for name, make in CALLS.items()}
    calls = {name: call for name, call in calls.items() if call is not None}
    check_exact(calls, vectors[:20_000], codebook)
    times = measure(calls, vectors, device, args.repeats)
    product = min(median(times[name]) for name in PRODUCTS)
    rows = []
    for name in calls:
        memory = None
        if name == OURS:
            memory = memory_in_a_process(name, args)
        rows.append(
            (
                name,
                f"{median(times[name]):.3f}",
                f"{median(times[name]) / product:.2f}",
                f"≤ {LARGEST_RATIO}" if name == OURS else None,
                None if memory is None else f"{memory:.0f}",
                f"< {LARGEST_MEMORY}" if name == OURS else None,
            )
        )
    columns = ("", "s", "times the product", "to reach", "MiB beyond", "to reach")
    print_table(columns, rows)


def product_at_once(codebook):
    codes = codebook.t()
    return lambda vectors: vectors @ codes


def product_in_blocks(codebook):
    """As the assignment does it: a block of the product stays in the cache."""
    codes, n_rows = codebook.t(), rows_at_a_time(codebook)

    def call(vectors):
        out = vectors.new_empty(n_rows, len(codebook))
        for block in vectors.split(n_rows):
            torch.mm(block, codes, out=out[: len(block)])
        return out

    return call


def ours(codebook):
    return lambda vectors: nearest_code(vectors, codebook)


def theirs(codebook):
    """The quantiser of vector-quantize-pytorch with our codebook, None without it."""
    try:
        from vector_quantize_pytorch import VectorQuantize
    except ImportError:
        print("vector-quantize-pytorch is not installed: left out.\n", file=sys.stderr)
        return None
    quantiser = VectorQuantize(dim=codebook.shape[1], codebook_size=len(codebook))
    quantiser.codebook = codebook
    quantiser = quantiser.to(codebook.device).eval()
    # (batch, n, D) -> vectors, codes, loss
    return lambda vectors: quantiser(vectors[None])[1][0]


OURS = "nearest_code"
PEER = "vector-quantize-pytorch, a tenth × 10"
CALLS = {
    "matrix product, at once": product_at_once,
    "matrix product, in blocks": product_in_blocks,
    OURS: ours,
    PEER: theirs,
}
PRODUCTS = ("matrix product, at once", "matrix product, in blocks")


def inputs(args, device):
    rng = torch.Generator(device).manual_seed(0)
    vectors = torch.randn(args.vectors, args.dim, generator=rng, device=device)
    codebook = torch.randn(args.codes, args.dim, generator=rng, device=device)
    return vectors, codebook


def check_exact(calls, vectors, codebook):
    """All must find a code that is nearest, up to rounding."""
    nearest = torch.cdist(vectors[:2000].double(), codebook.double()).square().amin(1)
    for name, call in calls.items():
        if name in PRODUCTS:
            continue
        codes = call(vectors[:2000])
        found = (vectors[:2000] - codebook[codes]).double().square().sum(1)
        if not torch.allclose(found, nearest, rtol=1e-5):
            raise SystemExit(f"{name} does not find the nearest codes")


@torch.inference_mode()
def measure(calls, vectors, device, n_repeats):
    """Seconds of each call; one after the other, so that all meet the same machine."""
    times = {name: [] for name in calls}
    for repeat in range(n_repeats + 1):
        for name, call in calls.items():
            some, factor = vectors, 1
            if name == PEER:
                some, factor = vectors[: len(vectors) // 10], 10
            taken = seconds(lambda call=call, some=some: call(some), device)
            if repeat:  # the first time warms up
                times[name].append(factor * taken)
    return times


def memory_in_a_process(name, args):
    command = [sys.executable, __file__, "--memory-of", name]
    command += ["--vectors", str(args.vectors), "--dim", str(args.dim)]
    command += ["--codes", str(args.codes), "--threads", str(torch.get_num_threads())]
    command += ["--cuda"] if args.cuda else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return float(done.stdout)
    except ValueError:
        print(f"{name}: {done.stderr.strip()}", file=sys.stderr)
        return None


@torch.inference_mode()
def memory_of_one_call(args):
    """MiB beyond what goes in and comes out; not a number where nobody counts."""
    device = torch.device("cuda" if args.cuda else "cpu")
    torch.set_num_threads(args.threads or torch.get_num_threads())
    vectors, codebook = inputs(args, device)
    call = CALLS[args.memory_of](codebook)
    call(vectors[:100])  # libraries take their buffers
    synchronise(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call(vectors)
        most = torch.cuda.max_memory_allocated()
    else:
        before = resident("VmRSS")
        result = call(vectors)
        most = resident("VmHWM")
    return (most - before - result.numel() * result.element_size()) / MIB


if __name__ == "__main__":
    main()
