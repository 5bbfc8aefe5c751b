"""`python -m distilq.worker.preflight`: can the model of these settings be served, and how?

One JSON line on stdout, without loading any weights; exit status 2 and one line on stderr if not.
"""

from __future__ import annotations

import json
import sys

from distilq.settings import Settings

from .names import ModelUnavailable, resolve


def report(settings: Settings) -> dict[str, str | int | None]:
    """What a worker of these settings would serve; `model` is the name to hand on to it."""
    resolved = resolve(settings.model)
    device, concrete, gpus = "none", "none", 0
    if resolved.kind != "simulated":
        from . import precision

        device = precision.device()
        concrete = precision.concrete(settings.precision, device)
        gpus = precision.gpus()
    return {
        "model": resolved.name,
        "source": resolved.source,
        "revision": resolved.revision,
        "precision": concrete,
        "device": device,
        "gpus": gpus,
        "note": resolved.note,
    }


def main() -> int:
    try:
        found = report(Settings.from_env())
    except (ModelUnavailable, ValueError) as error:
        print(f"distilq: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
