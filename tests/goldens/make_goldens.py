"""Makes and verifies golden files; see README.md beside this file.

  make_goldens.py KIND --config JSON [--batch N] [--size H W] -o NAME.safetensors
  make_goldens.py KIND --from GOLDEN -o NAME.safetensors    same inputs and config, outputs anew
  make_goldens.py verify DIR
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

import oracle
import reference_adm as adm
import reference_models as ref
from reference_vit import VisionTransformer

DIFFUSION_DEFAULTS = {
    "image_size": 64,
    "num_channels": 128,
    "num_res_blocks": 2,
    "num_heads": 4,
    "num_heads_upsample": -1,
    "num_head_channels": -1,
    "attention_resolutions": "16,8",
    "channel_mult": "",
    "dropout": 0.0,
    "class_cond": False,
    "use_checkpoint": False,
    "use_scale_shift_norm": True,
    "resblock_updown": False,
    "use_fp16": False,
    "use_new_attention_order": False,
    "learn_sigma": False,
    "diffusion_steps": 1000,
    "noise_schedule": "linear",
    "timestep_respacing": "",
    "use_kl": False,
    "predict_xstart": False,
    "rescale_timesteps": False,
    "rescale_learned_sigmas": False,
    "ssl_dim": 0,
    "num_classes": 0,
    "conditioning": "none",
    "spectral_norm": False,
}
SUPERRES_DEFAULTS = {
    "small_size": 64,
    "large_size": 256,
    "channel_mult": "1,1,2,2,4,4",
    "num_classes": 0,
    "conditioning": "none",
    "num_channels": 128,
    "num_res_blocks": 2,
    "attention_resolutions": "16,8",
    "num_heads": 4,
    "num_head_channels": -1,
    "learn_sigma": False,
    "use_scale_shift_norm": True,
    "resblock_updown": False,
}
CLASSIFIER_DEFAULTS = {
    "image_size": 64,
    "num_channels": 128,
    "channel_mult": "1,2,3,4",
    "num_res_blocks": 2,
    "attention_resolutions": "32,16,8",
    "num_head_channels": 64,
    "pool": "attention",
    "out_channels": 1000,
    "use_scale_shift_norm": True,
    "resblock_updown": True,
}
SAMPLER_DEFAULTS = DIFFUSION_DEFAULTS | {"sampler": "ddpm", "eta": 0.0, "clip_denoised": True}
# Of an upsampler, which is what has a small_size; num_classes above 0 says that there are classes.
UPSAMPLING_DEFAULTS = SAMPLER_DEFAULTS | {"small_size": 64, "large_size": 256, "channel_mult": "1,1,2,2,4,4"}
del UPSAMPLING_DEFAULTS["image_size"], UPSAMPLING_DEFAULTS["class_cond"]
DEFAULTS = {
    "unet": DIFFUSION_DEFAULTS,
    "superres": SUPERRES_DEFAULTS,
    "classifier": CLASSIFIER_DEFAULTS,
    "sampler": SAMPLER_DEFAULTS,
}

BUILD = {
    "resnet": ref.build_resnet,
    "vit": VisionTransformer,
    "head": ref.build_head,
    "unet": ref.UNet,
    "superres": adm.SuperResolution,
    "classifier": adm.Classifier,
    "sampler": lambda config: (adm.SuperResolution if "small_size" in config else ref.UNet)(config),
}
NOTES = {
    "resnet": "torchvision layout; taps are spatial means after each stage; image already normalised, NCHW",
    "vit": "names of DINO, timm and DINOv2; taps are the class token after each block, before the last norm; "
    "image already normalised, NCHW",
    "head": "",
    "unet": "guided-diffusion flag names; attention_resolutions are image sizes in pixels",
    "superres": "low_res is resized bilinearly (align_corners=False) and concatenated after x",
    "classifier": "guided-diffusion noisy classifier (EncoderUNetModel)",
    "sampler": "in.noise[k] is the noise drawn at the k-th step taken (k=0 is the noisiest); the last step adds none; "
    "with a small_size the network is an upsampler, and in.low_res the small image",
    "schedule": "tensors are <index>.<table>, float64",
    "preprocess": "out.crop<size>: uint8 CHW after the config's preset, or, without one, RCDM's centre crop (box halving, "
    "then bicubic, then crop), whose network input is v/127.5-1; out.input<size>: the network's input",
}


def weight_shapes(kind, config):
    with torch.device("meta"):
        model = BUILD[kind](config)
    return {name: list(w.shape) for name, w in model.state_dict().items()}


def load_model(kind, config, shapes):
    """The model with synthetic weights; its names and shapes must be exactly those of `shapes`."""
    with torch.device("meta"):
        model = BUILD[kind](config)
    weights = {name: torch.from_numpy(np.asarray(oracle.weight(name, s))) for name, s in shapes.items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval()


def make_inputs(kind, config, name, batch, size):
    """The in.* tensors of a new golden, drawn from streams named after the file."""
    if kind in ("resnet", "vit"):
        return {"in.image": oracle.tensor(f"{name}.x", (batch, 3, *size), "uniform")}
    if kind == "head":
        return {"in.trunk": oracle.tensor(f"{name}.x", (batch, config["dims"][0]))}
    if kind not in ("unet", "superres", "classifier", "sampler"):
        return {}
    upsamples = "small_size" in config
    size = config["large_size" if upsamples else "image_size"]
    shape = (batch, 3, size, size)
    inputs = {}
    if config.get("conditioning", "none") != "none":
        inputs["in.feat"] = oracle.tensor(f"{name}.feat", (batch, config["ssl_dim"]))
    if config["num_classes"] > 0 if upsamples else config.get("class_cond"):
        inputs["in.y"] = 3 * np.arange(batch) % config["num_classes"]
    if upsamples:
        small = (batch, 3, config["small_size"], config["small_size"])
        inputs["in.low_res"] = oracle.tensor(f"{name}.low_res", small, "uniform")
    if kind != "sampler":
        inputs["in.x"] = oracle.tensor(f"{name}.x", shape)
        inputs["in.t"] = np.resize(np.array([999, 37, 500, 0, 250]), batch)
    else:
        inputs["in.xT"] = oracle.tensor(f"{name}.xT", shape)
        if config["sampler"] == "ddim_reverse":  # starts from an image
            inputs["in.xT"] = np.clip(inputs["in.xT"] / 2, -0.5, 0.5)
        else:
            steps = len(ref.respaced_timesteps(config["diffusion_steps"], config["timestep_respacing"]))
            inputs["in.noise"] = np.stack([oracle.tensor(f"{name}.noise{k}", shape) for k in range(steps)])
    return inputs


@torch.inference_mode()
def compute(kind, config, shapes, inputs, folder):
    """All tensors of a golden but its inputs. folder: where a preprocess golden's image lies."""
    if kind == "schedule":
        out = {}
        for i, c in enumerate(config):
            schedule = ref.Schedule(c["noise_schedule"], c["steps"], c["respacing"])
            out |= {f"{i}.{table}": getattr(schedule, table) for table in ref.Schedule.TABLES}
        return out
    if kind == "preprocess":
        with Image.open(folder / config["image"]) as image:
            if "preset" not in config:
                return {f"out.crop{size}": ref.centre_crop(image, size) for size in (32, 64, 224)}
            crops = {size: ref.preprocess(image, config["preset"], size) for size in (32, 97)}
        return {f"out.crop{size}": crop for size, (crop, _) in crops.items()} | {"out.input32": crops[32][1]}

    model = load_model(kind, config, shapes)
    given = {name.removeprefix("in."): torch.from_numpy(v) for name, v in inputs.items()}
    if kind == "resnet":
        out = ref.run_resnet(model, given["image"])
    elif kind == "vit":
        out = model(given["image"])
    elif kind == "head":
        out = {"out.head": model(given["trunk"])}
    elif kind in ("unet", "superres"):
        out = {"out.eps_and_var": model(**given)}
    elif kind == "classifier":
        out = {"out.logits": model(given["x"], given["t"])}
    else:
        x, noise = given.pop("xT"), given.pop("noise", None)
        steps = list(ref.sample(lambda x, t: model(x, t, **given), config, x, noise))
        out = {"out.x_after_step0": steps[0][0], "out.sample": steps[-1][0]}
        if config["sampler"] != "ddim_reverse":
            out["out.x0_after_step0"] = steps[0][1]
    return {name: v.numpy() for name, v in out.items()}


def read(path):
    """(kind, config, weight shapes, tensors) of a golden file."""
    with safe_open(path, "numpy") as f:
        meta = f.metadata()
        tensors = {name: f.get_tensor(name) for name in f.keys()}
    return meta["kind"], json.loads(meta["config"]), json.loads(meta.get("weights", "{}")), tensors


def inputs_of(tensors):
    return {name: v for name, v in tensors.items() if name.startswith("in.")}


def make(args):
    if args.source:
        kind, config, shapes, tensors = read(args.source)
        if kind != args.kind:
            sys.exit(f"{args.source}: is of kind {kind}, not {args.kind}")
        inputs = inputs_of(tensors)
    else:
        kind, config = args.kind, json.loads(args.config)
        defaults = DEFAULTS.get(kind, {})
        if kind == "sampler" and "small_size" in config:
            defaults = UPSAMPLING_DEFAULTS
        if defaults:
            unknown = sorted(set(config) - set(defaults))
            if unknown:
                sys.exit(f"unknown in --config: {', '.join(unknown)}")
            config = defaults | config
        shapes = weight_shapes(kind, config) if kind in BUILD else {}
        inputs = make_inputs(kind, config, args.output.stem, args.batch, args.size)
    outputs = compute(kind, config, shapes, inputs, args.output.parent)
    meta = {"kind": kind, "config": json.dumps(config), "notes": NOTES[kind]}
    if shapes:
        meta["weights"] = json.dumps(shapes)
    tensors = {name: np.ascontiguousarray(v) for name, v in (inputs | outputs).items()}
    save_file(tensors, args.output, metadata=meta)


def relative_error(got, want):
    got, want = got.astype(np.float64), want.astype(np.float64)
    if got.shape != want.shape:
        return float("inf")
    distance, norm = np.linalg.norm(got - want), np.linalg.norm(want)
    return distance / norm if norm > 0 else distance


def verify(args):
    """Recomputes every golden of a kind known here; fails where a tensor is off by more than rounding."""
    failed = False
    for path in sorted(args.folder.glob("*.safetensors")):
        kind, config, shapes, tensors = read(path)
        if kind not in NOTES:
            continue
        outputs = compute(kind, config, shapes, inputs_of(tensors), path.parent)
        if kind == "vit":  # of which a golden may hold a part
            outputs = {name: v for name, v in outputs.items() if name in tensors}
        if outputs.keys() | inputs_of(tensors).keys() != tensors.keys():
            sys.exit(f"{path}: stored and computed tensors have different names")
        for name, got in outputs.items():
            error = relative_error(got, tensors[name])
            bound = 1e-5 if got.dtype == np.float32 else 1e-12
            bad = not error <= bound
            failed |= bad
            print(f"{path.stem:28} {name:36} {error:.1e}{'  TOO LARGE' if bad else ''}")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="kind", required=True)
    for kind in NOTES:
        p = commands.add_parser(kind)
        source = p.add_mutually_exclusive_group(required=True)
        source.add_argument("--config", metavar="JSON")
        source.add_argument("--from", dest="source", type=Path, metavar="GOLDEN")
        p.add_argument("--batch", type=int, default=2)
        if kind in ("resnet", "vit"):
            p.add_argument("--size", type=int, nargs=2, default=(224, 224), metavar=("H", "W"))
        p.add_argument("-o", "--output", type=Path, required=True)
        p.set_defaults(size=None)
    commands.add_parser("verify").add_argument("folder", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.kind == "verify":
        sys.exit(verify(args))
    make(args)


if __name__ == "__main__":
    main()
