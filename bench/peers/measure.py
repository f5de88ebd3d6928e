"""Times pieces of PyTorch work and prints one JSON object for each."""
import gc
import json
import statistics
import sys
import time

import torch


class Bench:
    """Runs cases on one device and prints their rows; `failed` is set by any error but running out of memory."""

    def __init__(self, device, repeat=None, out=None):
        self.device = torch.device(device)
        self.cuda = self.device.type == "cuda"
        self.repeat = repeat
        self.out = out
        self.failed = False
        self.name = torch.cuda.get_device_name(self.device) if self.cuda else "cpu"

    def case(self, work, variant, shape, dtype, body, tokens=None, flops=None, traffic=None):
        """Prints the row of one case: what it is, and what body() returns (see `times`).

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
        transformers = sys.modules.get("transformers")
        row.update(device=self.name, torch=torch.__version__,
                   transformers=transformers.__version__ if transformers else None)
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
        that is allocated in one, held_bytes included; both are None on a CPU.
        """
        repeat = self.repeat or repeat
        for _ in range(warm_up):
            step()
        held = None
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        runs, phases = [], []
        for _ in range(repeat):
            start = self.now()
            for _ in range(calls):
                points = step()
            runs.append(self.between(start, self.now()) / calls)
            if points:
                ends = list(points.values())
                phases.append([self.between(a, b) for a, b in zip([start] + ends, ends)])
        result = {"seconds": statistics.median(runs), "seconds_min": min(runs), "repeat": repeat,
                  "held_bytes": held, "peak_bytes": torch.cuda.max_memory_allocated() if self.cuda else None}
        if phases:
            result["phases"] = {name: statistics.median(p) for name, p in zip(points, zip(*phases))}
        return result
