"""PyTorch as a peer: from a flat checkpoint to a .safetensors in float16, as a user of PyTorch writes it.

    pip install torch safetensors numpy
    python convert_rcdm.py rcdm.pt rcdm.safetensors [--mmap] [--hash]

--hash computes what percept-weights writes into its files, too: SHA-256 of the source and of each tensor.

Prints one JSON object: seconds without the imports, and the most memory that the process held, interpreter and
libraries included: anonymous (sampled every millisecond) and resident. Linux only."""

import argparse
import hashlib
import json
import resource
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from gauge import Peak


@torch.no_grad()
def convert(source, target, mmap, hashes):
    state = torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    half = {name: w.half().contiguous() if w.is_floating_point() else w for name, w in state.items()}
    metadata = {}
    if hashes:
        with open(source, "rb") as file:
            metadata["source"] = hashlib.file_digest(file, "sha256").hexdigest()
        metadata |= {name: hashlib.sha256(w.numpy().data).hexdigest() for name, w in half.items()}
    save_file(half, target, metadata)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--mmap", action="store_true")
    parser.add_argument("--hash", action="store_true")
    args = parser.parse_args()
    with Peak() as peak:
        start = time.perf_counter()
        convert(args.source, args.target, args.mmap, args.hash)
        seconds = time.perf_counter() - start
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = {"seconds": seconds, "peak_anonymous_bytes": peak.bytes, "peak_resident_bytes": resident}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
