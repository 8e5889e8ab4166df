"""Writes the files beside it: one checkpoint in PyTorch's two containers, in shards and in NumPy's, and what it
holds, plainly.

    python make.py        # torch 2.15, safetensors 0.8
"""

import argparse
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

FILES = Path(__file__).parent / "files"


def teacher():
    torch.manual_seed(0)
    base = torch.randn(5, 6)
    return OrderedDict(
        {
            "module.backbone.conv1.weight": torch.randn(4, 3, 2, 2),
            "module.backbone.layer1.10.weight": base,
            # Of the same storage: rows, a transposed part, every other column, one row for many.
            "module.backbone.layer1.9.weight": base[1:3],
            "module.backbone.layer1.2.weight": base[2:5, 1:].t(),
            "module.backbone.layer1.1.weight": base[:, ::2],
            "module.backbone.layer1.0.weight": base[0].expand(3, 6),
            "module.backbone.bn1.num_batches_tracked": torch.tensor(7),
            "module.head.half": torch.randn(3).half(),
            "module.head.bf16": torch.randn(2, 3).bfloat16(),
            "module.head.double": torch.randn(2).double(),
            "module.head.mask": torch.tensor([True, False, True]),
            "module.head.bytes": torch.arange(5, dtype=torch.uint8),
            "module.head.empty": torch.empty(0, 3),
            "module.head.nan": torch.tensor([float("nan"), float("inf"), -0.0]),
        }
    )


def main():
    FILES.mkdir(exist_ok=True)
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    checkpoint = {
        "teacher": teacher(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(arch="resnet50", lr=0.03),
    }
    torch.save(checkpoint, FILES / "zip.pth")
    torch.save(checkpoint, FILES / "legacy.pth", _use_new_zipfile_serialization=False)

    plain = {f"teacher.{name}": tensor.contiguous().clone() for name, tensor in checkpoint["teacher"].items()}
    plain["optimizer.state.0.step"] = torch.tensor(1.0)
    for name in ["exp_avg", "exp_avg_sq"]:
        plain[f"optimizer.state.0.{name}"] = optimizer.state[parameter][name].clone()
    save_file(plain, FILES / "plain.safetensors", {"written by": "make.py"})

    # NumPy has no bfloat16.
    arrays = {name: tensor.numpy() for name, tensor in plain.items() if tensor.dtype != torch.bfloat16}
    np.savez(FILES / "arrays.npz", **arrays)
    # Column-major, as numpy saves what was transposed.
    np.savez_compressed(FILES / "columns.npz", **{name: np.array(array, order="F") for name, array in arrays.items()})

    shards = [dict(sorted(plain.items())[:9]), dict(sorted(plain.items())[9:])]
    weight_map = {}
    for index, shard in enumerate(shards, 1):
        file = f"model-{index:05}-of-00002.safetensors"
        save_file(shard, FILES / file)
        weight_map |= {name: file for name in shard}
    index = {"metadata": {"total_size": sum(t.nbytes for t in plain.values())}, "weight_map": weight_map}
    (FILES / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
