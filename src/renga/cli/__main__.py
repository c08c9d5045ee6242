"""`python -m renga.cli` is the command `renga`."""

import sys

from renga.cli._main import main

sys.exit(main())
