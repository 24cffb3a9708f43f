import sys

from qaprune.cli import main

sys.exit(main())
