"""PyTorch as a peer: the time of one RCDM-128 denoising step on the CPU.

    pip install torch torchvision numpy pillow
    python rcdm128.py --threads 4 --steps 5 [--batch 1] [--channels-last] [--random]

Prints one JSON object: median seconds per step and the peak resident memory of the process.
--random skips the goldens' deterministic weights, which take a while to compute."""
import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "goldens"))

import torch

import oracle
from reference_models import UNet

CONFIG = {
    "image_size": 128,
    "num_channels": 256,
    "num_res_blocks": 2,
    "num_heads": 4,
    "num_heads_upsample": -1,
    "num_head_channels": -1,
    "attention_resolutions": "32,16,8",
    "channel_mult": "",
    "class_cond": False,
    "use_scale_shift_norm": True,
    "resblock_updown": True,
    "use_new_attention_order": False,
    "learn_sigma": True,
    "ssl_dim": 2048,
    "conditioning": "time_embedding",
}


def build(random):
    with torch.device("meta"):
        model = UNet(CONFIG)
    if random:
        model.to_empty(device="cpu")
        for weight in model.parameters():
            weight.uniform_(-0.02, 0.02)
    else:
        weights = {k: torch.from_numpy(oracle.weight(k, w.shape)) for k, w in model.state_dict().items()}
        model.load_state_dict(weights, assign=True)
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=5, help="timed steps, after one that is not")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--random", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    with torch.inference_mode():
        model = build(args.random)
        x = torch.randn(args.batch, 3, 128, 128)
        if args.channels_last:
            model = model.to(memory_format=torch.channels_last)
            x = x.contiguous(memory_format=torch.channels_last)
        t = torch.full((args.batch,), 999)
        feat = torch.randn(args.batch, CONFIG["ssl_dim"])
        seconds = []
        for _ in range(args.steps + 1):
            start = time.perf_counter()
            model(x, t, feat)
            seconds.append(time.perf_counter() - start)

    # ru_maxrss is in KiB, on macOS in bytes
    unit = 1 if sys.platform == "darwin" else 1024
    result = {
        "model": "rcdm128",
        "torch": torch.__version__,
        "device": "cpu",
        "precision": "f32",
        "batch": args.batch,
        "threads": args.threads,
        "channels_last": args.channels_last,
        "steps": args.steps,
        "first_seconds": round(seconds[0], 4),
        "median_seconds": round(statistics.median(seconds[1:]), 4),
        "min_seconds": round(min(seconds[1:]), 4),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
