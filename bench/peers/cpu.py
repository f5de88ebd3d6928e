"""What a user of PyTorch, transformers and TRL would run instead of retort, on a CPU: a JSON object a measurement.

Usage: cpu.py [--work NAME]... [--peer NAME] [--repeat N] [--threads N] [--out FILE] [--compile] [--list] [--tiny]

Every case runs in a process of its own, so that its peak memory is its own. Models have random weights: nothing is
downloaded. README.md beside this file says what each row holds.
"""
import argparse
import contextlib
import json
import os
import subprocess
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch  # noqa: E402

import cpu_works  # noqa: E402
from measure import Bench  # noqa: E402


def run_each(chosen, out):
    """Runs this program once for each case, with this run's other arguments; 1 if one of them failed."""
    failed = False
    skip = {"--work", "--peer", "--out"}
    others, arguments = [], iter(sys.argv[1:])
    for argument in arguments:
        if argument in skip:
            next(arguments)
        elif argument.split("=")[0] not in skip:
            others.append(argument)
    for work, peer in chosen:
        done = subprocess.run([sys.executable, __file__, *others, "--work", work, "--peer", peer],
                              stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, end="", flush=True)
        if out:
            print(done.stdout, end="", file=out, flush=True)
        failed |= done.returncode != 0
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--work", action="append", choices=list(cpu_works.CASES), metavar="NAME",
                        help="what to measure, may be repeated (default: all): " + ", ".join(cpu_works.CASES))
    parser.add_argument("--peer", metavar="NAME", help="only this way of doing it, see --list")
    parser.add_argument("--repeat", type=int, metavar="N", help="runs to take the median of, after one that does not "
                        "count (default: 3 to 5)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: PyTorch's)")
    parser.add_argument("--out", metavar="FILE", help="write the rows to FILE too")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    parser.add_argument("--list", action="store_true", help="print the chosen works and peers and end")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, for a smoke test; the numbers say nothing")
    options = parser.parse_args()
    for name in ("repeat", "threads"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    chosen = [(work, peer) for work, peer in cpu_works.cases(options.compile or options.peer is not None)
              if (not options.work or work in options.work) and options.peer in (None, peer)]
    if not chosen:
        parser.error(f"no work has the peer '{options.peer}'")
    if options.list:
        for work, peer in chosen:
            print(json.dumps({"work": work, "peer": peer}))
        return 0
    with open(options.out, "w") if options.out else contextlib.nullcontext() as out:
        if len(chosen) > 1:
            return run_each(chosen, out)
        if options.threads:
            torch.set_num_threads(options.threads)
        (work, peer), = chosen
        bench = Bench("cpu", options.repeat, out)
        sizes = cpu_works.TINY if options.tiny else cpu_works.Sizes()
        with contextlib.redirect_stdout(sys.stderr):  # TRL prints there too
            row = bench.measure(work, peer, None, "fp32", lambda: cpu_works.CASES[work][peer](bench, sizes))
        bench.print(row)
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
