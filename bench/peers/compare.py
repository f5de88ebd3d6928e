"""retort's programs and their peers in turns on one CPU: a Markdown table of medians.

Usage: compare.py --retort BUILD_FOLDER [--python PYTHON] [--work NAME]... [--rounds N] [--out FOLDER] [--tiny]

Every run is a process of its own, and both sides have the same number of threads. README.md beside this file says how
to set up the peers' Python and what each row is. This program needs Python's standard library only.
"""
import argparse
import collections
import dataclasses
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Program:
    """How retort measures a work: a program of its build folder, with arguments and with those of a smoke test."""
    name: str
    arguments: tuple
    tiny: tuple = ("--tiny",)


def step(work):
    return Program("step", ("--work", work, "--clip", "1"))


def decode(batch):
    return Program("decode", ("--batches", str(batch)), ("--tiny", "--prompt", "4", "--fresh", "6"))


def row_loss(divergence):
    return Program("row_loss", ("--divergences", divergence),
                   ("--rows", "32", "--vocabulary", "101", "--width", "32"))


# The names are those of cpu.py.
WORKS = {
    "gpt2": step("gpt2"),
    "gpt2-256": step("gpt2-256"),
    "t5-small": step("t5-small"),
    "g2p-teacher-sft": step("g2p-teacher-sft"),
    "g2p-student-sft": step("g2p-student-sft"),
    "g2p-supervised-kd": step("g2p-supervised-kd"),
    "g2p-on-policy": step("g2p-on-policy"),
    "decode-1": decode(1),
    "decode-8": decode(8),
    "decode-32": decode(32),
    "gkd": step("gkd"),
    "row-loss-jsd": row_loss("jsd(0.5)"),
    "row-loss-forward-kl": row_loss("forward_kl"),
    "row-loss-reverse-kl": row_loss("reverse_kl"),
    "attention": Program("attention", (), ("--length", "64", "--heads", "2", "--width", "16")),
}


class Failed(Exception):
    """A run that gave no row; the message is one line."""


class Runner:
    """Runs either side once; a row is a dictionary with `seconds`."""

    def __init__(self, options):
        self.options = options
        self.environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}

    def command(self, arguments, row_of_failure=False):
        """Standard output of a command; Failed if it takes too long or fails, unless it printed a row about that."""
        try:
            done = subprocess.run([str(a) for a in arguments], env=self.environment, capture_output=True, text=True,
                                  timeout=self.options.limit, check=False)
        except subprocess.TimeoutExpired:
            raise Failed(f"took longer than {self.options.limit:g} s") from None
        except OSError as error:
            raise Failed(str(error)) from None
        if done.returncode != 0 and not (row_of_failure and done.stdout.strip()):
            raise Failed(self.last_line(done.stderr) or f"exit code {done.returncode}")
        return done.stdout

    @staticmethod
    def last_line(text):
        return (text.strip().splitlines() or [""])[-1]

    def peers(self):
        """{work: [peer]} of cpu.py."""
        more = ["--compile"] if self.options.compile else []
        found = collections.defaultdict(list)
        for line in self.command([self.options.python, HERE / "cpu.py", "--list", *more]).splitlines():
            row = json.loads(line)
            found[row["work"]].append(row["peer"])
        return found

    def retort(self, work):
        program = WORKS[work]
        more = list(program.tiny) if self.options.tiny else []
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "rows.json"
            self.command([self.options.retort / "bench" / program.name, *program.arguments, *more, "--rounds",
                          self.options.repeat, "--json", file])
            try:
                report = json.loads(file.read_text())
            except (OSError, ValueError):
                raise Failed(f"bench/{program.name} wrote no rows") from None
        (row,) = report.pop("rows")
        return {**report, **row}

    def peer(self, work, peer):
        more = ["--tiny"] if self.options.tiny else []
        out = self.command([self.options.python, HERE / "cpu.py", "--work", work, "--peer", peer, "--repeat",
                            self.options.repeat, "--threads", self.options.threads, *more], row_of_failure=True)
        try:
            row = json.loads(self.last_line(out))
        except ValueError:
            raise Failed("cpu.py printed no row") from None
        if "error" in row:
            raise Failed(row["error"])
        return row


class Side:
    """The rows of one side of a work."""

    def __init__(self):
        self.rows = []
        self.error = None

    def median(self, column):
        """Of the column in all rows; None where none has it."""
        values = [row[column] for row in self.rows if row.get(column) is not None]
        return statistics.median(values) if values else None


def measure(options, runner, peers, log):
    """{work: {"retort" or a peer's name: Side}}, the sides of a work in turns."""
    results = {}
    for work in options.work or WORKS:
        sides = {"retort": Side(), **{peer: Side() for peer in peers.get(work, [])}}
        for turn in range(options.rounds):
            for name, side in sides.items():
                if side.error:  # it would fail again
                    continue
                print(f"{work}, round {turn + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
                kept = {"work": work, "side": name, "round": turn + 1}
                try:
                    row = runner.retort(work) if name == "retort" else runner.peer(work, name)
                    side.rows.append(row)
                    kept["row"] = row
                except Failed as error:
                    side.error = kept["error"] = str(error)
                if log:
                    print(json.dumps(kept), file=log, flush=True)
        results[work] = sides
    return results


def seconds(value):
    if value is None:
        return "failed"
    return f"{value:.2f} s" if value >= 1 else f"{1e3 * value:.1f} ms" if value >= 1e-3 else f"{1e6 * value:.0f} µs"


def memory(side):
    """Peak memory; in brackets what the work took beyond its inputs and outputs, where that was measured."""
    peak, extra = side.median("peak_bytes"), side.median("extra_bytes")
    if peak is None:
        return ""
    return f"{peak / 1e9:.2f} GB" + (f" ({extra / 1e6:.0f} MB)" if extra is not None else "")


def share(side):
    """Of the arithmetic peak, and of the memory's speed where that was measured."""
    peak, bandwidth = side.median("share_of_peak"), side.median("share_of_bandwidth")
    if peak is None:
        return ""
    return f"{100 * peak:.1f} %" + (f" ({100 * bandwidth:.0f} % of memory's)" if bandwidth is not None else "")


def table(results):
    """Markdown lines: a row a work and peer."""
    lines = ["| work | peer | retort | peer's | peer's / retort | retort, memory | peer's memory | "
             "retort, share of the peak |",
             "|---|---|---|---|---|---|---|---|"]
    for work, sides in results.items():
        ours = sides["retort"]
        base = ours.median("seconds")
        for name, side in [item for item in sides.items() if item[0] != "retort"] or [("", Side())]:
            theirs = side.median("seconds")
            ratio = f"{theirs / base:.2f}" if base and theirs else ""
            cells = [work, name, seconds(base), seconds(theirs) if name else "", ratio, memory(ours), memory(side),
                     share(ours)]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def errors(results):
    """A Markdown item for each side that failed."""
    return [f"- {work}, {name} failed: {' '.join(side.error.split())}"
            for work, sides in results.items() for name, side in sides.items() if side.error]


def commit():
    """Of the checkout that this file is in, with a note if it has changes."""
    def git(*arguments):
        try:
            return subprocess.run(["git", "-C", str(HERE), *arguments], capture_output=True, text=True,
                                  check=False).stdout.strip()
        except OSError:
            return ""
    name = git("rev-parse", "--short", "HEAD") or "unknown"
    return name + (", with changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown processor"


def heading(options, results):
    """Markdown lines: machine, date, commit, versions, how it was measured."""
    rows = [row for sides in results.values() for side in sides.values() for row in side.rows]

    def known(column):
        return ", ".join(sorted({str(row[column]) for row in rows if row.get(column)})) or "unknown"

    peaks = [row["peak_gflops"] for row in rows if "peak_gflops" in row]
    peak = f"{min(peaks):.0f} to {max(peaks):.0f} GFLOP/s" if peaks else "not measured"
    return [f"- machine: {cpu_name()}, {os.cpu_count()} cores, {options.threads} threads used, fp32 peak {peak}",
            f"- date: {datetime.date.today()}, commit {commit()}",
            f"- versions: retort {known('retort')}; PyTorch {known('torch')}, transformers {known('transformers')}, "
            f"TRL {known('trl')}",
            f"- medians of {options.rounds} processes a side in turns, {options.repeat} timed runs in each"
            + (", toy sizes: the numbers say nothing" if options.tiny else "")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retort", type=pathlib.Path, required=True, metavar="BUILD_FOLDER",
                        help="where retort's benchmarks are built: BUILD_FOLDER/bench/step and so on")
    parser.add_argument("--python", default=sys.executable, metavar="PYTHON", help="the peers' Python")
    parser.add_argument("--work", action="append", choices=list(WORKS), metavar="NAME",
                        help="what to measure, may be repeated (default: all): " + ", ".join(WORKS))
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="processes a side (default: 3)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N",
                        help="timed runs of a process, after its warm-up (default: 3)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of both sides (default: 2)")
    parser.add_argument("--limit", type=float, default=1800, metavar="SECONDS", help="of one process (default: 1800)")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, where there is such a peer")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER",
                        help="keep every row in FOLDER/rows.jsonl and the table in FOLDER/table.md")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, for a smoke test")
    options = parser.parse_args()
    for name in ("rounds", "repeat", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    runner = Runner(options)
    try:
        peers = runner.peers()
    except Failed as error:
        parser.error(f"the peers' Python does not run cpu.py: {error}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    log = open(options.out / "rows.jsonl", "w") if options.out else None
    try:
        results = measure(options, runner, peers, log)
    finally:
        if log:
            log.close()
    failed = errors(results)
    text = "\n".join(heading(options, results) + [""] + table(results) + ([""] + failed if failed else [])) + "\n"
    print(text, end="")
    if options.out:
        (options.out / "table.md").write_text(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
