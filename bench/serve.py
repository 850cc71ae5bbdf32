"""Starts web workers as `countinghouse web` does, for any application: `python -m bench.serve bench.floors:bare_insert 8123 2`."""

import sys

from app.web.accepting import serve

if __name__ == "__main__":
    serve(sys.argv[1], host="127.0.0.1", port=int(sys.argv[2]), workers=int(sys.argv[3]))
