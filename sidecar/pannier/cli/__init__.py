"""The `pannier` command. Everything is imported at first use: a sidecar pays for no other command.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 unreachable; 130 after Ctrl-C.
With `--json` what went wrong is one JSON object on standard error, as what went well is on output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import takewhile


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pannier ARGUMENTS` (by default the process's own) and return the exit code."""
    import click

    from pannier.cli.commands import pannier
    from pannier.cli.endings import (
        INTERRUPTED,
        REFUSED,
        Ending,
        complain,
        complain_as_json,
        drop_output,
    )
    from pannier.errors import PannierError

    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = asks_for_json(words)
    try:
        code = pannier.main(words, prog_name="pannier", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as wrong:
        if as_json:
            complain_as_json({"code": "usage", "detail": wrong.format_message()})
        else:
            wrong.show()
        return wrong.exit_code
    except (click.Abort, KeyboardInterrupt):
        ending = Ending(INTERRUPTED, "interrupted")
    except BrokenPipeError:
        # Who read our output has gone, as `pannier list ... | head` does: nothing is left to say.
        drop_output()
        return 0
    except Ending as ended:
        ending = ended
    except OSError as error:
        # What talks to a sidecar or a file says its own errors: what is left is our own output.
        drop_output()
        ending = Ending(REFUSED, f"the answer cannot be written: {error.strerror or error}")
    except PannierError as refused:
        ending = Ending(REFUSED, str(refused), refused.code)
    else:
        return code if isinstance(code, int) else 0
    if as_json and str(ending):
        complain_as_json(ending.document())
    elif str(ending):
        complain(str(ending))
    return ending.code


def asks_for_json(words: Sequence[str]) -> bool:
    """Whether the command line holds `--json`.

    Read here and not from the parsed options: a line that cannot be parsed is refused as JSON too.
    """
    return "--json" in takewhile(lambda word: word != "--", words)
