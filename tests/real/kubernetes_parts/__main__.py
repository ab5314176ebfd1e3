"""Have the programs of the test control plane built: what `./dev test` runs before the tests.

It says nothing where they are there. Without a Go that can build them it says what will be
skipped, and is content: only a build that fails is an error.
"""

from __future__ import annotations

import sys

from tests.real.kubernetes_parts import building


def say(text: str) -> None:
    print(f"dev: {text}", file=sys.stderr, flush=True)


def main() -> int:
    if not building.missing():
        return 0
    try:
        building.build(building.MODULE, building.cache(), say)
    except building.NotHere as reason:
        say(f"what needs a Kubernetes API server is skipped: {reason}")
    except RuntimeError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
