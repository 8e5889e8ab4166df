"""The models that checkpoints hold, built with PyTorch, and the names that their weights have there."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "goldens"))

import reference_models as ref


def build_resnet(config, classes):
    net = ref.build_resnet(config)
    net.fc = nn.Linear(net.fc.in_features, classes) if classes else nn.Identity()
    return net


def build_vit(config, classes):
    """timm's, which computes what DINO's and DINOv2's compute at the image size they were made for."""
    return VisionTransformer(
        img_size=config.get("image", config.get("native_image")),
        patch_size=config["patch"],
        embed_dim=config["dim"],
        depth=config["depth"],
        num_heads=config["heads"],
        num_classes=classes,
        norm_layer=partial(nn.LayerNorm, eps=config["ln_eps"]),
        init_values=1e-5 if config.get("layer_scale") else None,
        reg_tokens=config.get("registers", 0),
        # DINOv2's registers come without a position; its class token has one, see to_timm.
        no_embed_class=config.get("registers", 0) > 0,
    )


@dataclass(frozen=True)
class Part:
    """A model within a checkpoint that can run by itself."""

    name: str  # in the golden's name: trunk, head or unet
    kind: str  # the golden's: resnet, vit, head or unet
    config: dict
    prefix: str = ""
    rename: Callable = lambda name: name  # from reference_models' name to the checkpoint's, before the prefix
    classes: int = 0  # of a ResNet's or ViT's classifier
    prototypes: int = 0  # of DINO's last layer, which its loss needs and nobody else

    def build(self):
        """The model on no device: names and shapes."""
        with torch.device("meta"):
            if self.kind == "resnet":
                return build_resnet(self.config, self.classes)
            if self.kind == "vit":
                return build_vit(self.config, self.classes)
            return ref.UNet(self.config) if self.kind == "unet" else ref.build_head(self.config)

    def names(self):
        """{name in the model: name in the checkpoint} of what the model needs."""
        own = [name for name in self.build().state_dict() if not name.startswith("last_layer")]
        return {name: self.prefix + self.rename(name) for name in own}

    def shapes(self):
        """{name in the checkpoint: shape}, with what the model does not need."""
        state = self.build().state_dict()
        shapes = {there: list(state[own].shape) for own, there in self.names().items()}
        if self.kind == "vit" and "registers" in self.config:
            shapes = of_dinov2(shapes)
        if self.prototypes:
            shapes[f"{self.prefix}last_layer.weight_g"] = [self.prototypes, 1]
            shapes[f"{self.prefix}last_layer.weight_v"] = [self.prototypes, self.config["dims"][-1]]
        return shapes

    def load(self, state):
        """The model with the values of a checkpoint, in float32."""
        if self.kind == "vit" and "registers" in self.config:
            state = to_timm(state)
        model = self.build()
        # Files older than PyTorch 0.4.1 do not count batches.
        counts = {name: torch.tensor(0) for name in model.state_dict() if name.endswith("num_batches_tracked")}
        found = {own: state[there] for own, there in self.names().items() if there in state}
        found |= {name: w for name, w in model.state_dict().items() if name.startswith("last_layer")}
        weights = {name: w.float() if w.is_floating_point() else w for name, w in (counts | found).items()}
        model.load_state_dict(weights, strict=True, assign=True)
        return model.eval().requires_grad_(False)


def of_dinov2(shapes):
    """The shapes of timm's registers and positions as DINOv2 has them."""
    dim = shapes["cls_token"][-1]
    tokens = {
        "cls_token": [1, 1, dim],
        "pos_embed": [1, shapes["pos_embed"][1] + 1, dim],
        "register_tokens": shapes["reg_token"],
        "mask_token": [1, dim],  # stands for hidden patches in training
    }
    return tokens | {name: shape for name, shape in shapes.items() if name not in (*tokens, "reg_token")}


def to_timm(state):
    """DINOv2's names as timm's, which adds the class token's position to the token."""
    tokens = {
        "cls_token": state["cls_token"] + state["pos_embed"][:, :1],
        "pos_embed": state["pos_embed"][:, 1:],
        "reg_token": state["register_tokens"],
    }
    return {name: w for name, w in state.items() if name not in ("register_tokens", "mask_token")} | tokens
