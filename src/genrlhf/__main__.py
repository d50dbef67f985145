"""`python -m genrlhf`, where the script `genrlhf` is not on the path."""

import sys

from genrlhf.cli import main

sys.exit(main())
