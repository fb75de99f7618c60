import sys

from lt_det.cli import main

sys.exit(main())
