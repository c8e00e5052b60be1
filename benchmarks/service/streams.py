"""Many open event streams on one training: what they cost the API in memory, and how late progress arrives.

python -m benchmarks.service.streams [--streams 1000] [--seconds 30]"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import psutil

from benchmarks.service.stand import Stand, stand
from mintage import Mintage


async def follow(http: httpx.AsyncClient, job: str, end: float, seen: dict[int, list[float]]) -> int:
    """When each step of the progress arrives; returns how many events came."""
    events = 0
    async with http.stream("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                events += 1
                step = (json.loads(line[5:]).get("progress") or {}).get("step") or json.loads(line[5:]).get("step")
                if step:
                    seen.setdefault(int(step), []).append(time.monotonic())
            if time.monotonic() > end:
                break
    return events


async def all_streams(
    here: Stand, job: str, streams: int, seconds: float
) -> tuple[dict[int, list[float]], list[int], float]:
    seen: dict[int, list[float]] = {}
    limits = httpx.Limits(max_connections=streams + 10)
    headers = {"Authorization": f"Bearer {here.address.api_key}"}
    api = psutil.Process(here.world.pids()["api"])
    most = 0.0
    async with httpx.AsyncClient(base_url=here.address.url, headers=headers, limits=limits, timeout=120) as http:
        end = time.monotonic() + seconds
        tasks = [asyncio.create_task(follow(http, job, end, seen)) for _ in range(streams)]
        while not all(task.done() for task in tasks):
            most = max(most, api.memory_info().rss / 2**20)
            await asyncio.sleep(0.5)
        events = [task.result() for task in tasks]
    return seen, events, most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="mintage-bench-") as name,
        stand("servers", Path(name)) as here,
        Mintage(here.address.url, here.address.api_key) as server,
    ):
        job = server.train(here.dataset, preset="best", steps=1_000_000).id
        while (server.jobs.get(job).progress.step or 0) < 5:
            time.sleep(0.5)
        before = psutil.Process(here.world.pids()["api"]).memory_info().rss / 2**20
        seen, events, most = asyncio.run(all_streams(here, job, args.streams, args.seconds))
        server.jobs.cancel(job)
    late = [max(times) - min(times) for times in seen.values() if len(times) > args.streams * 0.9]
    told = {
        "streams": args.streams,
        "events_each": float(np.median(events)),
        "api_mib_before": round(before),
        "api_mib_at_most": round(most),
        "steps_seen_by_all": len(late),
        "seconds_from_first_to_last_stream": {
            f"p{q}": round(float(np.percentile(late or [0.0], q)), 2) for q in (50, 95, 100)
        },
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
