"""What the job service itself costs and carries: load, streams, overhead, scaling, memory."""
