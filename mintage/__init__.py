"""Mintage from Python: `from mintage import Mintage`. Talks HTTP to a server; knows nothing of how it works inside."""

from mintage.client import Mintage
from mintage.errors import ApiError, DownloadFailed, JobFailed, MintageError, NoServer, ServerUnreachable
from mintage.results import Amount, Dataset, Event, Frame, Job, MetricPoint, Model, Output, OutputFile, Progress, Usage

__version__ = "0.1.0"
__all__ = [
    "Amount",
    "ApiError",
    "Dataset",
    "DownloadFailed",
    "Event",
    "Frame",
    "Job",
    "JobFailed",
    "MetricPoint",
    "Mintage",
    "MintageError",
    "Model",
    "NoServer",
    "Output",
    "OutputFile",
    "Progress",
    "ServerUnreachable",
    "Usage",
]
