"""`python -m pannier` is `pannier`."""

import sys

from pannier.cli import main

if __name__ == "__main__":
    sys.exit(main())
