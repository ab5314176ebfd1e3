"""The `pannier` command. Everything is imported at first use: a sidecar pays for no other command.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 unreachable; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pannier ARGUMENTS` (by default the process's own) and return the exit code."""
    import click

    from pannier.cli.commands import pannier
    from pannier.cli.endings import INTERRUPTED, REFUSED, Ending, complain, drop_output
    from pannier.errors import PannierError

    try:
        code = pannier.main(
            list(arguments) if arguments is not None else None,
            prog_name="pannier",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output has gone, as `pannier list ... | head` does: nothing is left to say.
        drop_output()
        return 0
    except Ending as ending:
        if str(ending):
            complain(str(ending))
        return ending.code
    except PannierError as refused:
        complain(str(refused))
        return REFUSED
    return code if isinstance(code, int) else 0
