"""Times pieces of PyTorch work and prints one JSON object for each."""
import gc
import json
import statistics
import sys
import time

import torch


def resident_bytes(field="VmRSS"):
    """Bytes of this process in memory now, or with "VmHWM" the most so far; None where /proc does not say."""
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


class Bench:
    """Runs cases on one device and prints their rows; `failed` is set by any error but running out of memory."""

    def __init__(self, device, repeat=None, out=None):
        self.device = torch.device(device)
        self.cuda = self.device.type == "cuda"
        self.repeat = repeat
        self.out = out
        self.failed = False
        self.start_bytes = None if self.cuda else resident_bytes()
        self.name = torch.cuda.get_device_name(self.device) if self.cuda else "cpu"

    def case(self, work, variant, shape, dtype, body, tokens=None, flops=None, traffic=None):
        """Prints the row of one case, see `measure`."""
        self.print(self.measure(work, variant, shape, dtype, body, tokens, flops, traffic))

    def measure(self, work, variant, shape, dtype, body, tokens=None, flops=None, traffic=None):
        """The row of one case: what it is, and what body() returns (see `times`).

        tokens, flops and traffic are what one run processes: tokens, floating-point operations, and bytes read plus
        bytes written. Tensors belong inside of body, so that the next case finds the memory free.
        """
        row = {"work": work, "variant": variant, "shape": shape, "dtype": dtype}
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
        try:
            torch.manual_seed(0)
            row.update(body())
            seconds = row["seconds"]
            row["tokens_per_second"] = tokens / seconds if tokens else None
            if flops:
                row["tflops"] = flops / seconds / 1e12
            if traffic:
                row["gigabytes_per_second"] = traffic / seconds / 1e9
        except torch.OutOfMemoryError as error:
            row["error"] = "out of memory: " + str(error).splitlines()[0]
        except Exception as error:  # one case that this PyTorch cannot run must not cost the others
            row["error"] = f"{type(error).__name__}: {error}"
            self.failed = True
        versions = {name: getattr(sys.modules.get(name), "__version__", None) for name in ("transformers", "trl")}
        row.update(device=self.name, torch=torch.__version__, **versions)
        if not self.cuda:
            row.update(threads=torch.get_num_threads(), start_bytes=self.start_bytes)
        return row

    def print(self, row):
        """Prints a row, to the file of rows too."""
        line = json.dumps(row)
        print(line, flush=True)
        if self.out:
            print(line, file=self.out, flush=True)

    def now(self):
        """A point in time on the device's stream (an event) or, on a CPU, in seconds."""
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start, end):
        """Seconds between two points; waits for the second."""
        if not self.cuda:
            return end - start
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def times(self, step, repeat, warm_up=2, calls=1):
        """Seconds of step(): the median and the least of `repeat` runs of `calls` calls each, divided by calls.

        If step returns points in time, {phase: the point of its end} in order, the median seconds of each phase come
        too. held_bytes is what stays allocated between runs (weights, inputs, optimizer state), peak_bytes the most
        that is allocated in one, held_bytes included. On a CPU they are the process's memory, Python and libraries
        included: then, and the most since it began; a row's start_bytes is what it had before the case.
        """
        repeat = self.repeat or repeat
        for _ in range(warm_up):
            step()
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        held = self.held_bytes()
        runs, phases = [], []
        for _ in range(repeat):
            start = self.now()
            for _ in range(calls):
                points = step()
            runs.append(self.between(start, self.now()) / calls)
            if points:
                ends = list(points.values())
                phases.append([self.between(a, b) for a, b in zip([start] + ends, ends)])
        result = self.summary(runs, held)
        if phases:
            result["phases"] = {name: statistics.median(p) for name, p in zip(points, zip(*phases))}
        return result

    def held_bytes(self):
        """What is allocated now, see `times`."""
        return torch.cuda.memory_allocated() if self.cuda else resident_bytes()

    def summary(self, runs, held):
        """The columns of runs that took so many seconds each, with held_bytes as they were before."""
        return {"seconds": statistics.median(runs), "seconds_min": min(runs), "repeat": len(runs), "held_bytes": held,
                "peak_bytes": torch.cuda.max_memory_allocated() if self.cuda else resident_bytes("VmHWM")}
