"""How fast networks for pictures train and draw, beside what the device can multiply. One line of JSON a resolution.

    python -m benchmarks.images.speed [--preset standard] [--device cuda] [--sides 32,64,128] [--workers 16]

The peak is the fastest of a few square matrix products, in the precision of the networks' blocks. Steps are those of a
training as the worker sets it up, on random RGB pictures without classes, penalties and looks at held-out pictures
included, judging and checkpoints not. Their floating-point operations are counted over one whole cycle (the penalty
comes every few steps), two for a multiplication; only convolutions and matrix products count, so that interpolation,
optimisers and averages take time and add nothing. Pictures are drawn by a network of that few steps: those of a good
one take longer to encode (--model FOLDER measures its drawing alone)."""

import argparse
import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import conv_flop_count, flop_registry

from benchmarks.images.trained import config, dataset, ingested, on_threads, unlabelled
from benchmarks.tables.running import Desk, circumstances
from workers.engine.blocks import precision
from workers.engine.overfit import EVERY
from workers.modalities import modality, quiet
from workers.modalities.images.modality import CHUNK, ImageSampler
from workers.modalities.images.pictures import encoded
from workers.modalities.images.spec import ImageConfig
from workers.modalities.images.training import ImageTraining

PRODUCTS = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192, 16384)}  # sides of the matrices
PICTURES, STEPS = 400, 1_000_000  # random ones; more steps than can be made, so that none is judged
HANDED = 0.7  # of what drawing and encoding could do, below which something else takes the time
Count = dict[str, Any]
Clock = Callable[[], float]


def clock(device: str) -> Clock:
    """Seconds: on a CPU those of this process, by its threads, so that what else the machine does hardly counts."""
    return time.perf_counter if device.startswith("cuda") else lambda: time.process_time() / torch.get_num_threads()


def rate(work: Callable[[], object], seconds: float, now: Clock) -> float:
    """Calls a second, after two that are not counted."""
    for _ in range(2):
        work()
    _wait()
    begin, calls = now(), 0
    while now() - begin < seconds:
        work()
        _wait()
        calls += 1
    return calls / (now() - begin)


def _wait() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def peak(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the best product."""
    found = []
    for n in PRODUCTS["cuda" if device.startswith("cuda") else "cpu"]:
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        found.append(2 * n**3 * 4 * rate(lambda a=a, b=b: [a @ b for _ in range(4)], 1.0, clock(device)))  # type: ignore[misc]
    return max(found)


# -- training -----------------------------------------------------------------------------------------------------


def backward(
    grad_shape: list[int], x_shape: list[int], w_shape: list[int], _bias: object, _stride: object, _padding: object,
    _dilation: object, transposed: bool, _output_padding: object, _groups: int, wanted: list[bool], *_: object,
    **__: object,
) -> int:  # fmt: skip
    """Operations of a convolution's gradients: as many for x, and for the weights, as forward. torch's own count takes
    the weights of groups as if each saw all channels: 16 times too many for 256 channels in groups of 16."""
    return sum(wanted[:2]) * conv_flop_count(x_shape, w_shape, grad_shape, transposed)


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the operations of what is run within, by torch's formulas. Its own FlopCounterMode also tells modules
    apart, by hooks that refuse the penalty's gradient of a gradient."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.convolution_backward:
            grad, x, w, *rest = args
            self.total += backward(grad.shape, x.shape, w.shape, *rest)
        elif formula := flop_registry.get(func.overloadpacket):
            self.total += int(formula(*args, **(kwargs or {}), out_val=out))
        return out


def operations(work: Callable[[], object]) -> int:
    # What is compiled runs as kernels that nothing counts.
    with torch.compiler.set_stance("force_eager"), Counting() as counting:  # type: ignore[no-untyped-call]
        work()
    return int(counting.total)


def training(side: int, preset: str, device: str, folder: Path) -> ImageTraining:
    """Set up by the worker's own code, from an upload of noise."""
    rng = np.random.default_rng(0)
    ingested(unlabelled(rng.integers(0, 256, (PICTURES, side, side, 3), np.uint8)), folder)
    wanted = ImageConfig.model_validate(config(preset, 0, STEPS) | {"mirror": False})
    found = modality("images").training(dataset(folder), wanted, device)
    assert isinstance(found, ImageTraining)
    return found


def trained(run: ImageTraining, device: str, seconds: float, most: float) -> Count:
    """Figures of the steps; `most` is the peak."""
    settings, steps = run.trainer.settings, run.trainer.run()
    cycle = math.lcm(settings.penalty_every, EVERY)

    def work() -> None:
        for _ in range(cycle):
            next(steps)

    work()  # makes what is made once: the optimisers' state
    counted = operations(work)
    speed = rate(work, seconds, clock(device))
    return {
        "widths": run.form.widths,
        "batch": settings.batch,
        "images_per_second": round(speed * cycle * settings.batch, 1),
        "flop_per_image": round(counted / cycle / settings.batch),
        "flop_per_second": round(counted * speed),
        "share_of_peak": round(counted * speed / most, 4),
    }


# -- drawing ------------------------------------------------------------------------------------------------------


def encoded_all(pixels: NDArray[np.uint8]) -> list[bytes]:
    return [encoded(picture) for picture in pixels]


def in_pool(chunks: Iterator[NDArray[np.uint8]], pool: Executor, workers: int) -> int:
    """Encodes chunks beside the drawing of the next; returns the bytes of all."""
    waiting, size = deque[Future[list[bytes]]](), 0
    for pixels in chunks:
        waiting.append(pool.submit(encoded_all, pixels))
        if len(waiting) > 2 * workers:
            size += sum(map(len, waiting.popleft().result()))
    return size + sum(len(one) for future in waiting for one in future.result())


def generated(sampler: ImageSampler, device: str, seconds: float, workers: int, folder: Path) -> Count:
    """Pictures a second: drawn to 8-bit pixels; encoded by one core; and, by the clock on the wall, written to a zip
    as the worker does, and drawn while a pool of threads, or of processes, encodes."""
    pixels, _ = sampler.chunk(0, CHUNK, 0, None)
    drawn = CHUNK * rate(lambda: sampler.chunk(0, CHUNK, 0, None), seconds, clock(device))
    alone = CHUNK * rate(lambda: encoded_all(pixels), seconds, time.process_time)
    one_by_one = math.ceil(seconds * alone * drawn / (alone + drawn) / CHUNK) * CHUNK
    begin = time.perf_counter()
    sampler.write(folder / "drawn.zip", 0, one_by_one, 0, "zip", {}, quiet)
    zipped = one_by_one / (time.perf_counter() - begin)
    told: Count = {"drawn": drawn, "encoded_by_one_core": alone, "zip": zipped}
    pools: dict[str, Executor] = {
        "pool_of_threads": ThreadPoolExecutor(workers),
        "pool_of_processes": ProcessPoolExecutor(workers, get_context("spawn")),
    }
    for name, pool in pools.items():
        with pool:
            list(pool.map(encoded_all, [pixels[:1]] * 4 * workers))  # processes take seconds to begin
            many = math.ceil(seconds * min(drawn, alone * workers) / CHUNK)
            begin = time.perf_counter()
            in_pool((sampler.chunk(k, CHUNK, 0, None)[0] for k in range(many)), pool, workers)
            told[name] = many * CHUNK / (time.perf_counter() - begin)
    told = {name: round(value, 1) for name, value in told.items()}
    limit, best = min(drawn, alone * workers), max(told["pool_of_threads"], told["pool_of_processes"])
    told |= {"workers": workers, "bytes_per_png": round(float(np.mean([len(one) for one in encoded_all(pixels)])))}
    told["zip_bound_by"] = "drawing" if drawn < alone else "encoding, one picture after the other"
    bound = "drawing" if limit == drawn else f"encoding, {workers} cores"
    told["pool_bound_by"] = bound if best > HANDED * limit else "handing pictures over, or cores that are not there"
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sides", type=lambda text: [int(one) for one in text.split(",")], default=[32, 64, 128])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="that encode PNG")
    parser.add_argument("--model", type=Path, help="the files of a trained model, whose drawing alone is measured")
    args = parser.parse_args()
    on_threads(args.threads)
    about = {"benchmark": "speed", "device": args.device}
    where = circumstances(Desk(Path(), None, args.threads, 0.0))
    if args.device.startswith("cuda"):
        where["gpu"] = torch.cuda.get_device_name(args.device)
    if args.model:
        sampler = modality("images").sampler(args.model, args.device)
        assert isinstance(sampler, ImageSampler)
        shape = {"height": sampler.codec.height, "width": sampler.codec.width, "channels": sampler.codec.channels}
        with TemporaryDirectory(prefix="mintage-bench-") as name:
            found = generated(sampler, args.device, args.seconds, args.workers, Path(name))
        print(json.dumps(about | shape | {"drawing": found} | where))
        return
    dtype = precision(args.device)
    most = peak(args.device, dtype)
    about |= {
        "preset": args.preset,
        "precision": str(dtype).removeprefix("torch."),
        "peak_flop_per_second": round(most),
    }
    for side in args.sides:
        with TemporaryDirectory(prefix="mintage-bench-") as name:
            run = training(side, args.preset, args.device, Path(name))
            steps = trained(run, args.device, args.seconds, most)
            sampler = ImageSampler(run.trainer.ema, run.codec, args.device)  # type: ignore[arg-type]
            found = generated(sampler, args.device, args.seconds, args.workers, Path(name))
        print(json.dumps(about | {"side": side, "training": steps, "drawing": found} | where), flush=True)


if __name__ == "__main__":
    main()
