"""`python -m lumiere_video.commands` is `lumiere`."""

import sys

from .main import main

sys.exit(main())
