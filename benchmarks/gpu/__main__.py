"""`python benchmarks/gpu COMMAND`; see README.md in this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gpu.cli import main

if __name__ == "__main__":
    main()
