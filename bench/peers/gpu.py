"""What a user of PyTorch and transformers would run instead of retort, on one GPU: a JSON object a measurement.

Usage: gpu.py [--work NAME]... [--repeat N] [--out FILE] [--compile] [--device cuda|cpu] [--tiny]

Models have random weights, so nothing is downloaded. README.md beside this file says what each row holds.
"""
import argparse
import contextlib
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch  # noqa: E402

import works  # noqa: E402
from measure import Bench  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", action="append", choices=list(works.ALL), metavar="NAME",
                        help="what to measure, may be repeated (default: all): " + ", ".join(works.ALL))
    parser.add_argument("--repeat", type=int, metavar="N", help="runs to take the median of (default: 5; generate and "
                        "on_policy 3)")
    parser.add_argument("--out", metavar="FILE", help="write the rows to FILE too")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile in train too (about a minute)")
    parser.add_argument("--device", default="cuda", help="cuda (default), or cpu for a smoke test")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, for a smoke test")
    options = parser.parse_args()
    if options.repeat is not None and options.repeat < 1:
        parser.error("--repeat must be at least 1")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("this PyTorch sees no GPU; --tiny --device cpu makes a smoke test")
    sizes = works.TINY if options.tiny else works.Sizes()
    with open(options.out, "w") if options.out else contextlib.nullcontext() as out:
        bench = Bench(options.device, options.repeat, out)
        for name in options.work or works.ALL:
            works.ALL[name](bench, sizes, options.compile)
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
