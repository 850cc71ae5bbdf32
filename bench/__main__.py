"""`make bench`: every measurement, or the named ones (`make bench ARGS=ledger`)."""

import sys
from importlib import import_module
from pathlib import Path


def main() -> int:
    """Run the measurements one after the other: two at once would measure each other."""
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    chosen = sys.argv[1:] or known
    unknown = [name for name in chosen if name not in known]
    if unknown:
        print(f"no such measurement: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    for name in chosen:
        print(f"\n== {name} ==", flush=True)
        # Each module reads its own arguments; the names of the measurements are not among them.
        sys.argv = [name]
        import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
