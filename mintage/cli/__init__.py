"""The command line: `mintage`. Every command is a call of the client, or of the local stack."""

from mintage.cli.app import main

__all__ = ["main"]
