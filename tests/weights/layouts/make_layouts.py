"""Writes every checkpoint of checkpoints.py as people have it, and goldens of what the models in it compute.

    python make_layouts.py                                # all, at small widths, into files/ beside it
    python make_layouts.py --full DIR NAME --layout JSON  # one, at the size that it has in the world

torch 2.15, torchvision 0.29, timm 1.0.31, safetensors 0.8. Golden NAME.PART.golden.safetensors belongs to the part
(trunk, head, unet) of checkpoint NAME; its `weights_file` is what that part is converted to: NAME.safetensors, or
NAME.head.safetensors. JSON: {name: shape} of all tensors of the model, against which names and shapes are checked.
Bytes differ from run to run in legacy files, whose storages PyTorch names by addresses, and in goldens, whose metadata
safetensors writes in any order; values do not.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

sys.dont_write_bytecode = True

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from checkpoints import CHECKPOINTS, FULL, WRONG_FILE, round_coarsely
from make_goldens import NOTES, make_inputs
import reference_models as ref

VIT_NOTES = "out.trunk is the class token after the last norm; tokens_mean has all tokens, patch_mean the patches"


def save(checkpoint, path, legacy):
    content = checkpoint.content()
    if path.suffix == ".safetensors":
        save_file(content, path, {"format": "pt"})
    else:
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def load(path, legacy):
    """Everything in a file that this program wrote: some have classes and functions of their training programs."""
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=False, mmap=not legacy)


def run_vit(model, config, image):
    tokens = model.forward_features(image)
    out = {"out.trunk": tokens[:, 0]}
    if "registers" in config:
        return out | {"out.patch_mean": tokens[:, 1 + config["registers"] :].mean(dim=1)}
    return out | {"out.tokens_mean": tokens.mean(dim=1)}


@torch.inference_mode()
def compute(part, model, given):
    if part.kind == "resnet":
        out = ref.run_resnet(model, given["image"])
        return {name: out[name] for name in ["out.trunk"] + (["out.logits"] if part.classes else [])}
    if part.kind == "vit":
        return run_vit(model, part.config, given["image"])
    if part.kind == "head":
        return {"out.head": model(given["trunk"])}
    return {"out.eps_and_var": model(**given)}


def inputs_of(part, stem, batch, size):
    """Rounded as the weights are, for the same reason."""
    kind = "resnet" if part.kind == "vit" else part.kind  # which take an image
    inputs = make_inputs(kind, part.config, f"{stem}.{part.name}", batch, (size, size))
    rounded = lambda v: round_coarsely(v) if v.dtype == np.float32 else v
    return {name: torch.from_numpy(rounded(v)) for name, v in inputs.items()}


def write_golden(checkpoint, part, model, folder, batch, size):
    size = part.config.get("image", part.config.get("native_image", size))  # a ViT's is its own
    inputs = inputs_of(part, checkpoint.stem, batch, size)
    out = compute(part, model, {name.removeprefix("in."): v for name, v in inputs.items()})
    end = ".head.safetensors" if part.name == "head" else ".safetensors"
    metadata = {
        "kind": part.kind,
        "config": json.dumps(part.config),
        "weights_file": checkpoint.stem + end,
        "notes": VIT_NOTES if part.kind == "vit" else NOTES[part.kind],
    }
    tensors = {name: v.contiguous() for name, v in (inputs | out).items()}
    save_file(tensors, folder / f"{checkpoint.stem}.{part.name}.golden.safetensors", metadata)


def write(checkpoint, folder, batch, size):
    """The file, then its goldens, with the values that are in the file."""
    path = folder / checkpoint.file
    save(checkpoint, path, checkpoint.legacy)
    if checkpoint.legacy_too:
        save(checkpoint, path.with_stem(f"{path.stem}_legacy"), legacy=True)
    state = checkpoint.model(load(path, checkpoint.legacy))
    assert {name: list(w.shape) for name, w in state.items()} == checkpoint.shapes()
    for part in checkpoint.parts:
        write_golden(checkpoint, part, part.load(state), folder, batch, size)


def write_full(name, layout, folder):
    # Nobody keeps these in git: their values have all bits. And the smaller of the two containers will do.
    checkpoint = replace(FULL[name], coarse=False, legacy_too=False)
    want, have = json.loads(layout.read_text()), checkpoint.shapes()
    if want != have:
        different = sorted(k for k in want.keys() | have.keys() if want.get(k) != have.get(k))
        sys.exit(f"{layout}: {len(different)} names or shapes are not those of {name}: {', '.join(different[:5])}")
    write(checkpoint, folder, batch=1, size=224)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "files", metavar="DIR")
    parser.add_argument("--full", nargs=2, metavar=("DIR", "NAME"), help=f"NAME: {', '.join(FULL)}")
    parser.add_argument("--layout", type=Path, metavar="JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.full:
        args.out.mkdir(parents=True, exist_ok=True)
        for checkpoint in CHECKPOINTS:
            write(checkpoint, args.out, batch=2, size=64)
        save(WRONG_FILE, args.out / WRONG_FILE.file, legacy=False)
        return
    folder, name = args.full
    if name not in FULL or args.layout is None:
        parser.error(f"--full takes --layout, and a NAME of {', '.join(FULL)}")
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_full(name, args.layout, Path(folder))


if __name__ == "__main__":
    main()
