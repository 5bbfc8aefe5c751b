"""`python -m distilq.cli`: the `distilq` command where its script is not on PATH."""

from distilq.cli import main

main()
