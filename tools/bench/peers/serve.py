"""The side of a peer's process: as lib/serve.mjs. In: lines `go JSON` and `end`; out: lines that begin with @@ and hold JSON."""
import json
import os
import resource
import sys

OPTIONS = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}


def say(**message):
    print("@@" + json.dumps(message), flush=True)


def peak():
    """Peak of resident memory, in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def turn():
    """Waits for `go` and gives what came with it; at `end`, says the peak and ends."""
    line = sys.stdin.readline()
    if line.startswith("go"):
        return json.loads(line[2:].strip() or "null")
    if line:
        say(peak=peak())
    sys.stdout.flush()
    os._exit(0)


def versions():
    import importlib.metadata as metadata

    found = {"python": sys.version.split()[0]}
    for name in ("torch", "transformers", "trl"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found
