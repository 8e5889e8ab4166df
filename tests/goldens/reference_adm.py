"""What guided-diffusion has beside its UNet, in PyTorch: the upsampler and the classifier of noisy images."""
import torch
import torch.nn.functional as F
from torch import nn

from reference_models import GroupNorm, ResBlock, UNet, timestep_embedding


class SuperResolution(UNet):
    """guided-diffusion's upsampler: a UNet that reads the small image, made larger, after x. config: the UNet's with
    small_size and large_size in the place of image_size, where num_classes above 0 says that there are classes."""

    channels_in = 6

    def __init__(self, config):
        absent = {"num_heads_upsample": -1, "use_new_attention_order": False, "ssl_dim": 0}
        sizes = {"image_size": config["large_size"], "class_cond": config["num_classes"] > 0}
        super().__init__(absent | config | sizes)

    def forward(self, x, t, low_res, y=None):
        larger = F.interpolate(low_res, x.shape[2:], mode="bilinear", align_corners=False)
        return super().forward(torch.cat([x, larger], dim=1), t, y=y)


class AttentionPool(nn.Module):
    """CLIP's pooling: the mean of the pixels, before them, attends to all; its result is the image's."""

    def __init__(self, pixels, channels, head_channels, outputs):
        super().__init__()
        self.heads = channels // head_channels
        self.positional_embedding = nn.Parameter(torch.zeros(channels, pixels + 1))
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, outputs, 1)

    def forward(self, x):
        n, c = x.shape[:2]
        x = x.flatten(2)
        x = torch.cat([x.mean(dim=2, keepdim=True), x], dim=2) + self.positional_embedding
        q, k, v = self.qkv_proj(x).reshape(n, 3, self.heads, c // self.heads, -1).unbind(1)
        p = torch.softmax(q.transpose(2, 3) @ k * (c // self.heads) ** -0.5, dim=-1)  # [n, head, query, key]
        return self.c_proj((v @ p.transpose(2, 3)).reshape(n, c, -1))[:, :, 0]


class Classifier(UNet):
    """guided-diffusion's classifier of noisy images: a UNet's way down and its middle, and a pooling.
    config: the UNet's flags, pool (attention, adaptive or spatial) and out_channels."""

    def __init__(self, config):
        absent = {"num_heads": 1, "num_heads_upsample": -1, "use_new_attention_order": False, "class_cond": False}
        absent |= {"conditioning": "none", "ssl_dim": 0, "learn_sigma": False}
        super().__init__(absent | config)
        del self.output_blocks
        self.pool, outputs = config["pool"], config["out_channels"]
        ch = self.middle_block[1].norm.num_channels
        if self.pool == "spatial":
            widths = [[m for m in b.modules() if isinstance(m, nn.Conv2d)] for b in self.input_blocks]
            features = sum(block[0].out_channels for block in widths) + ch
            self.out = nn.Sequential(nn.Linear(features, 2048), nn.ReLU(), nn.Linear(2048, outputs))
            return
        pixels = (config["image_size"] >> len(config["channel_mult"].split(",")) - 1) ** 2
        last = [AttentionPool(pixels, ch, config["num_head_channels"], outputs)]
        if self.pool == "adaptive":
            last = [nn.AdaptiveAvgPool2d((1, 1)), nn.Conv2d(ch, outputs, 1), nn.Flatten()]
        self.out = nn.Sequential(GroupNorm(ch), nn.SiLU(), *last)

    def forward(self, x, t):
        emb = self.time_embed(timestep_embedding(t, self.base))
        h, means = x, []
        for block in [*self.input_blocks, self.middle_block]:
            for layer in block:
                h = layer(h, emb, None) if isinstance(layer, ResBlock) else layer(h)
            means.append(h.mean(dim=(2, 3)))
        return self.out(torch.cat(means, dim=1) if self.pool == "spatial" else h)
