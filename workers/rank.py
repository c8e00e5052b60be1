"""One of the processes that train one model together: `python -m workers.rank FOLDER`, started by torchrun's agent.

Rank 0 does a child's work, with the others' help in each step, and says how it ended; what goes wrong elsewhere ends
the process, which the agent sees. FOLDER holds the pipes to the child and what ranks share."""

import sys

if __name__ == "__main__":
    from workers.child import die_with_parent

    die_with_parent()

import os
import traceback
from pathlib import Path
from typing import NoReturn

import torch

from service.errors import MintageError
from service.settings import Settings
from service.storage.objects import object_store
from workers import child
from workers.engine.team import Together
from workers.modalities import Stop
from workers.work import STORAGE_LOST
from workers.work.bench import STORAGE_ERRORS, Bench
from workers.work.line import ANSWERS, Line
from workers.work.together import pipes
from workers.work.train import follow, train

BROKEN = 1  # the status of a rank that cannot go on


def end(status: int) -> NoReturn:
    """Now: threads of torch's may wait for others."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    folder, rank, size = Path(sys.argv[1]), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    hears, says = pipes(folder, rank)
    line = Line(hears.open(encoding="utf-8"), says.open("w", encoding="utf-8"))
    request = line.requests.get()
    if request is None:
        end(BROKEN)
    settings = Settings(**child.UNKNOWN_HERE)
    device = request["device"]
    if device.startswith("cuda"):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    bench = Bench(
        object_store(settings),
        line,
        Path(os.environ["MINTAGE_SCRATCH"]),
        device,
        settings.checkpoint_seconds,
        settings.ingest_memory_bytes,
    )
    bench.torch_device()  # sets the threads
    try:
        team = Together(folder, rank, size, device)
        if rank == 0:
            line.check()
            line.end("result", value=train(request["payload"], request["attempt"], bench, team, folder))
        else:
            follow(request["payload"], bench, team, folder)
    except Stop:
        line.end(ANSWERS[line.asked or "cancel"])
    except MintageError as error:
        line.end("failure", code=error.code, message=error.detail)
    except STORAGE_ERRORS:
        traceback.print_exc()
        end(STORAGE_LOST)
    except Exception as error:  # noqa: BLE001  # what is no user's business ends the process: perhaps another rank died
        traceback.print_exc()
        code, message = child.failure(error, request)
        if code != "internal_error":
            line.end("failure", code=code, message=message)
    else:
        end(0)
    end(BROKEN)


if __name__ == "__main__":
    main()
