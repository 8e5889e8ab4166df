"""The checkpoints that people have: which models are in them, under which names, and what lies around them.

`CHECKPOINTS` has each at a small width, with every name that the real one has; `FULL` has the real sizes.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from parts import Part  # which makes tests/goldens importable, too
from surroundings import adamw_of_unet, dino, vicreg, vissl, with_metadata
import oracle
from make_goldens import DIFFUSION_DEFAULTS


@dataclass(frozen=True)
class Checkpoint:
    file: str
    parts: list
    at: str = ""  # where the model stands in what torch.save was given, keys joined by points
    around: Callable = lambda checkpoint, state: state(checkpoint.at)
    dtype: torch.dtype = torch.float32
    coarse: bool = True  # see round_coarsely
    storage: str = "own"  # of its own per tensor; "parameters", "channels_last" or "flat": see stored
    legacy: bool = False  # in the stream of pickles that PyTorch wrote before 1.6
    legacy_too: bool = False  # in both containers
    counts_batches: bool = True

    @property
    def stem(self):
        return self.file.rpartition(".")[0]

    def shapes(self):
        shapes = {name: shape for part in self.parts for name, shape in part.shapes().items()}
        return {k: s for k, s in shapes.items() if self.counts_batches or not k.endswith("num_batches_tracked")}

    def state(self, at, prefix=""):
        """A state dict as a module gives it. Values go by the full name: a student's are not its teacher's."""
        state = OrderedDict()
        for name, shape in self.shapes().items():
            state[prefix + name] = self.value(f"{at}.{prefix}{name}" if at else name, shape)
        return with_metadata(stored(state, self.storage))

    def value(self, name, shape):
        if name.endswith("num_batches_tracked"):
            return torch.tensor(100_090)
        value = oracle.weight(name, shape)
        return torch.from_numpy(round_coarsely(value) if self.coarse else value).to(self.dtype)

    def content(self):
        return self.around(self, self.state)

    def model(self, content):
        """The model's state dict in what torch.load gave, by the names that `shapes` has."""
        for key in self.at.split(".") if self.at else []:
            content = content[key]
        if all(isinstance(value, torch.Tensor) for value in content.values()):
            return content
        return {f"{outer}.{name}": w for outer, inner in content.items() for name, w in inner.items()}


def round_coarsely(value):
    """To three significant bits, so that git compresses the files well; float16 and bfloat16 have them, too."""
    mantissa, exponent = np.frexp(value)
    return np.ldexp(np.round(mantissa * 8) / 8, exponent).astype(np.float32)


def stored(state, how):
    """The same values as tensors of another kind."""
    if how == "parameters":  # guided-diffusion's averages, and torchvision's first files
        kind = lambda name, w: w if "running_" in name or "stored_" in name else nn.Parameter(w)
        return OrderedDict((name, kind(name, w)) for name, w in state.items())
    if how == "channels_last":
        four = lambda w: w.contiguous(memory_format=torch.channels_last) if w.ndim == 4 else w
        return OrderedDict((name, four(w)) for name, w in state.items())
    if how == "flat":  # guided-diffusion trained with use_fp16: two float32 storages, of vectors and of the rest
        for group in ([n for n, w in state.items() if w.ndim <= 1], [n for n, w in state.items() if w.ndim > 1]):
            views = nn.Parameter(torch.cat([state[name].flatten() for name in group]))
            pieces = views.split([state[name].numel() for name in group])
            state |= {name: piece.view(state[name].shape) for name, piece in zip(group, pieces)}
    return state


def resnet_config(width):
    return {"block": "bottleneck", "layers": [3, 4, 6, 3], "width": width}


def torchvision_resnet50(width, classes):
    trunk = Part("trunk", "resnet", resnet_config(width), classes=classes)
    return Checkpoint("torchvision_resnet50.pth", [trunk], storage="channels_last")


def dino_resnet50(width, dims, prototypes):
    trunk = Part("trunk", "resnet", resnet_config(width), "module.backbone.")
    head = Part("head", "head", {"head": "dino", "dims": dims}, "module.head.", prototypes=prototypes)
    around = partial(dino, "resnet50", "")
    return Checkpoint("dino_resnet50_full.pth", [trunk, head], "teacher", around, legacy_too=True)


def vit_config(dim, depth, image=64):
    return {"patch": 16, "dim": dim, "depth": depth, "heads": dim // 64, "ln_eps": 1e-6, "image": image}


def dinov2_config(dim, depth, image):
    config = {"arch": "dinov2", "patch": 14, "dim": dim, "depth": depth, "heads": dim // 64, "ln_eps": 1e-6}
    return config | {"native_image": image, "registers": 4, "layer_scale": True, "pos_embed": "dino"}


def dino_vit(file, config):
    return Checkpoint(file, [Part("trunk", "vit", config)])


def dino_vit_full(config, dims, prototypes):
    trunk = Part("trunk", "vit", config, "backbone.")
    # No batch norms: mlp.0, mlp.2, mlp.4.
    head = Part("head", "head", {"head": "dino", "dims": dims, "use_bn": False}, "head.", prototypes=prototypes)
    return Checkpoint("dino_vit_small16_full.pth", [trunk, head], "teacher", partial(dino, "vit_small", "module."))


def vicreg_resnet50(width, dims):
    trunk = Part("trunk", "resnet", resnet_config(width), "module.backbone.")
    head = Part("head", "head", {"head": "vicreg", "dims": dims}, "module.projector.")
    return Checkpoint("vicreg_resnet50_full.pth", [trunk, head], "model", vicreg)


def vissl_resnet50(method, width, dims):
    trunk = Part("trunk", "resnet", resnet_config(width), "trunk._feature_blocks.")
    rename = {
        # mlp.0, mlp.2 are heads.0, heads.1: each is a head of its own, with its ReLU, if it has one, behind it.
        "simclr": lambda name: re.sub(r"^mlp\.(\d)", lambda m: f"heads.{int(m[1]) // 2}.clf.0", name),
        "barlow": lambda name: re.sub(r"^(\d)\.(\d)", r"heads.\1.clf.\2", name),
    }[method]
    head = Part("head", "head", {"head": method, "dims": dims}, rename=rename)
    at = "classy_state_dict.base_model.model"
    around = partial(vissl, OrderedDict())
    return Checkpoint(f"vissl_{method}.torch", [trunk, head], at, around, legacy_too=method == "simclr")


def unet(file, flags, **more):
    return Checkpoint(file, [Part("unet", "unet", DIFFUSION_DEFAULTS | flags)], **more)


def head_alone(method, dims):
    return Checkpoint(f"{method}_head.pth", [Part("head", "head", {"head": method, "dims": dims})])


SMALL_UNET = {"image_size": 32, "num_channels": 32, "num_res_blocks": 1}
RCDM = {
    "attention_resolutions": "16,8",
    "resblock_updown": True,
    "learn_sigma": True,
    "conditioning": "time_embedding",
    "ssl_dim": 128,
}
RCDM_SMALL = SMALL_UNET | RCDM | {"channel_mult": "1,1,1"}
RCDM_128 = RCDM | {
    "image_size": 128,
    "num_channels": 256,
    "attention_resolutions": "32,16,8",
    "ssl_dim": 2048,
    "timestep_respacing": "100",
}
RCDM_OF_THE_PAPER = RCDM_SMALL | {"channel_mult": "1,1", "conditioning": "cbn", "spectral_norm": True, "ssl_dim": 32}
ADM = SMALL_UNET | {
    "attention_resolutions": "16,8",
    "channel_mult": "1,2",
    "class_cond": True,
    "num_classes": 10,
    "num_head_channels": 16,
    "use_scale_shift_norm": False,
    "use_new_attention_order": True,
}

CHECKPOINTS = [
    torchvision_resnet50(4, classes=10),
    Checkpoint(
        "torchvision_resnet18_legacy.pth",
        [Part("trunk", "resnet", {"block": "basic", "layers": [2, 2, 2, 2], "width": 4}, classes=10)],
        coarse=False,  # one with all bits, for what converting to float16 loses
        storage="parameters",
        legacy=True,
        counts_batches=False,
    ),
    dino_resnet50(4, [128, 64, 32], prototypes=48),
    dino_vit("dino_vit_small16.pth", vit_config(128, 2)),
    dino_vit_full(vit_config(64, 2), [64, 64, 64, 32], prototypes=48),
    Checkpoint("timm_vit.safetensors", [Part("trunk", "vit", vit_config(64, 2), classes=10)], dtype=torch.bfloat16),
    dino_vit("dinov2_vits14_reg.pth", dinov2_config(64, 2, image=56)),
    vicreg_resnet50(4, [128, 64, 64, 64]),
    vissl_resnet50("barlow", 4, [128, 64, 64, 64]),
    vissl_resnet50("simclr", 4, [128, 128, 32]),
    unet("rcdm_time_embedding.pt", RCDM_SMALL, storage="parameters", legacy_too=True),
    unet("rcdm_cbn_sn.pt", RCDM_OF_THE_PAPER, dtype=torch.float16),
    unet("adm_classcond.pt", ADM, storage="flat"),
    head_alone("simclr", [32, 32, 16]),
    head_alone("swav", [32, 32, 16]),
    head_alone("byol", [32, 64, 16]),
]

WRONG_FILE = unet("opt.pt", RCDM_SMALL, storage="parameters", around=adamw_of_unet)

FULL = {
    "torchvision_resnet50": torchvision_resnet50(64, classes=1000),
    "dino_resnet50_full": dino_resnet50(64, [2048, 4096, 256], prototypes=60000),
    "dino_vit_small16": dino_vit("dino_vit_small16.pth", vit_config(384, 12, image=224)),
    "dino_vit_base16": dino_vit("dino_vit_base16.pth", vit_config(768, 12, image=224)),
    "vicreg_resnet50_full": vicreg_resnet50(64, [2048, 8192, 8192, 8192]),
    "vissl_barlow": vissl_resnet50("barlow", 64, [2048, 8192, 8192, 8192]),
    "vissl_simclr": vissl_resnet50("simclr", 64, [2048, 2048, 128]),
    "rcdm_time_embedding": unet("rcdm_time_embedding.pt", RCDM_128, storage="parameters"),
}
