"""PyTorch as a peer: the time of one forward pass of any model of the goldens' reference on the CPU, and what it takes.

    pip install torch torchvision numpy pillow safetensors
    python forward.py unet '{"image_size": 128, ...}' --batch 4 --threads 2 --runs 3 [--size 224]

Kinds and configurations are those of the goldens; weights are random, in channels_last. Prints one JSON object: the median of
the runs after a first one, or the first if it takes 20 s, and the most anonymous memory of the process, interpreter and
libraries included."""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "goldens"))

import torch

import make_goldens
from gauge import Peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind")
    parser.add_argument("config")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=224, help="height and width of an encoder's images")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=3, help="timed runs, after one that is not")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = make_goldens.DEFAULTS.get(args.kind, {}) | json.loads(args.config)

    with torch.inference_mode(), Peak() as peak:
        with torch.device("meta"):
            model = make_goldens.BUILD[args.kind](config)
        model = model.to_empty(device="cpu").eval()
        for weight in model.parameters():
            weight.uniform_(-0.02, 0.02)
        for name, value in model.named_buffers():
            value.fill_(1 if name.endswith("var") else 0)
        model = model.to(memory_format=torch.channels_last)
        inputs = make_goldens.make_inputs(args.kind, config, "forward", args.batch, (args.size, args.size))
        given = {name.removeprefix("in."): torch.from_numpy(value) for name, value in inputs.items()}
        given = {k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in given.items()}
        if "image" in given:
            given = {"x": given["image"]}
        seconds = []
        while len(seconds) <= args.runs and sum(seconds) < 20:
            start = time.perf_counter()
            model(*given.values()) if "x" in given and len(given) == 1 else model(**given)
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"median_ms": 1e3 * statistics.median(seconds[1:] or seconds), "peak_bytes": peak.bytes}))


if __name__ == "__main__":
    main()
