"""PyTorch as a peer on CUDA: the time of one forward pass of RCDM-128's UNet or of ResNet-50.

    pip install torch torchvision numpy pillow
    python torch_cuda.py rcdm128|resnet50 [--batch 1] [--runs 20] [--device cuda]

Prints a JSON object per line: eager and compiled, each without and with TF32 (products of numbers cut to 10 bits of
mantissa, which percept does not do). In all of them the layout is channels_last and cudnn.benchmark is on, weights
are random, and a pass ends when the device is done; the output stays there. cold_ms is the first pass with
all compilation, median_ms the median of the runs after three more. Without CUDA it says so and fails; with
`--device cpu` it can be tried anywhere."""
import argparse
import json
import statistics
import sys
import time

sys.dont_write_bytecode = True

import torch

import rcdm128

WARM_UP = 3


def network(name, batch, device):
    """The network, a ResNet up to its trunk, and inputs for it."""
    if name == "rcdm128":
        model, size = rcdm128.build(random=True), 128
        rest = [torch.full((batch,), 999, device=device)]
        rest.append(torch.randn(batch, rcdm128.CONFIG["ssl_dim"], device=device))
    else:
        import torchvision

        model, size, rest = torchvision.models.resnet50(weights=None).eval(), 224, []
        model.fc = torch.nn.Identity()
    model = model.to(device=device, memory_format=torch.channels_last)
    x = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    return model, (x, *rest)


def milliseconds(call, device):
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", choices=["rcdm128", "resnet50"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit(f"PyTorch {torch.__version__} finds no CUDA device")
    torch.backends.cudnn.benchmark = True

    with torch.inference_mode():
        model, inputs = network(args.model, args.batch, device)
        for tf32 in (False, True) if device.type == "cuda" else (False,):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            torch.backends.cudnn.allow_tf32 = tf32
            for mode in ("eager", "compiled"):
                torch.compiler.reset()
                forward = model if mode == "eager" else torch.compile(model)
                cold = milliseconds(lambda: forward(*inputs), device)
                times = [milliseconds(lambda: forward(*inputs), device) for _ in range(WARM_UP + args.runs)]
                result = {
                    "model": args.model,
                    "batch": args.batch,
                    "backend": f"PyTorch {torch.__version__} {mode}, TF32 {'on' if tf32 else 'off'}",
                    "adapter": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
                    "channels_last": True,
                    "cold_ms": cold,
                    "median_ms": statistics.median(times[WARM_UP:]),
                    "min_ms": min(times[WARM_UP:]),
                }
                print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
