"""`python -m mintage` is `mintage`."""

from mintage.cli import main

main()
