import sys
from pathlib import Path

for folder in ("leaderboard", "heights"):
    sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / folder))
