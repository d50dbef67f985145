"""`python -m genrlhf.cli`, the same as `python -m genrlhf`."""

import sys

from genrlhf.cli import main

sys.exit(main())
