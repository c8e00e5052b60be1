"""Many clients at once: each submits, lists and polls, with the pauses that the client library makes. On PostgreSQL.

    python -m benchmarks.service.load [--clients 200] [--seconds 60] [--kind servers|embedded]

The workers are stopped meanwhile: what they cost is another figure, and jobs wait in the queue as in a rush."""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import httpx
import numpy as np
import psutil

from benchmarks.service.stand import Stand, stand

PAUSE = 1.0  # seconds between two calls of a client, as in `mintage.waiting`
CALLS = {"look": 8.0, "submit": 1.0, "list": 1.0}


async def client(http: httpx.AsyncClient, model: str, end: float, seed: int, taken: dict[str, list[float]]) -> None:
    rng = random.Random(seed)
    jobs: list[str] = []
    await asyncio.sleep(rng.uniform(0, PAUSE))
    while time.monotonic() < end:
        call = rng.choices(list(CALLS), list(CALLS.values()))[0] if jobs else "submit"
        begin = time.perf_counter()
        if call == "submit":
            body = {"kind": "generate", "model_id": model, "count": 1000, "seed": rng.randrange(2**31)}
            answer = await http.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"{seed}-{rng.random()}"})
            jobs.append(answer.json().get("id", ""))
        elif call == "list":
            answer = await http.get("/v1/jobs", params={"limit": 20})
        else:
            answer = await http.get(f"/v1/jobs/{rng.choice(jobs)}")
        taken[call if answer.is_success else f"{call} {answer.status_code}"].append(time.perf_counter() - begin)
        await asyncio.sleep(rng.uniform(0.5, 1.5) * PAUSE)


async def all_clients(here: Stand, clients: int, seconds: float) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = defaultdict(list)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    headers = {"Authorization": f"Bearer {here.address.api_key}"}
    async with httpx.AsyncClient(base_url=here.address.url, headers=headers, limits=limits, timeout=60) as http:
        end = time.monotonic() + seconds
        await asyncio.gather(*(client(http, here.model, end, seed, taken) for seed in range(clients)))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kind", default="servers")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mintage-bench-") as name, stand(args.kind, Path(name)) as here:
        here.stop_workers()
        api = psutil.Process(here.world.pids()["api"])
        before = sum(api.cpu_times()[:2])
        taken = asyncio.run(all_clients(here, args.clients, args.seconds))
        cpu = sum(api.cpu_times()[:2]) - before
    calls = sum(map(len, taken.values()))
    found = {
        call: {"calls": len(some)} | {f"p{q}_ms": round(1e3 * float(np.percentile(some, q)), 1) for q in (50, 95, 99)}
        for call, some in sorted(taken.items())
    }
    told = {"calls_a_second": round(calls / args.seconds), "api_cpu_ms_a_call": round(1e3 * cpu / calls, 2)}
    print(json.dumps(told | found, indent=1))


if __name__ == "__main__":
    main()
