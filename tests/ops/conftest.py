"""Lets the tests of operators import kit.py, and one another's cases, by name."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
