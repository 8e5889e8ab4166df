"""Reference vision transformers in PyTorch (float32, NCHW, CPU), as DINO, timm and DINOv2 have them. Module names
are chosen so that state_dict() has the names of released checkpoints."""
import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """x + ls1(attn(norm1(x))), and then x + ls2(mlp(norm2(x))); ls: a factor per channel, or nothing."""

    def __init__(self, dim, heads, eps, layer_scale):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps), nn.LayerNorm(dim, eps)
        self.attn, self.mlp = Attention(dim, heads), Mlp(dim)
        self.ls1, self.ls2 = (LayerScale(dim) if layer_scale else nn.Identity() for _ in range(2))

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        n, t, c = x.shape
        # Channels run [q, k, v][head][channel].
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        p = torch.softmax(q @ k.transpose(2, 3) * (c // self.heads) ** -0.5, dim=-1)  # [n, head, query, key]
        return self.proj((p @ v).transpose(1, 2).reshape(n, t, c))


class Mlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))  # the exact one


class LayerScale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * self.gamma


class VisionTransformer(nn.Module):
    """config: {"patch", "dim", "depth", "heads", "image" or "native_image": the size that positions were made for},
    and, where they are not 1e-6, 0, false and "dino", "ln_eps", "registers", "layer_scale", "pos_embed". With "arch"
    "dinov2" there is a mask_token, which nothing uses."""

    def __init__(self, config):
        super().__init__()
        patch, dim, eps = config["patch"], config["dim"], config.get("ln_eps", 1e-6)
        self.grid = config.get("image", config.get("native_image")) // patch
        self.resizing = config.get("pos_embed", "dino")
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, dim))
        if registers := config.get("registers", 0):
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, dim))
        if config.get("arch") == "dinov2":
            self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, patch, stride=patch)
        block = lambda: Block(dim, config["heads"], eps, config.get("layer_scale", False))
        self.blocks = nn.ModuleList(block() for _ in range(config["depth"]))
        self.norm = nn.LayerNorm(dim, eps)

    def positions(self, h, w):
        """[1, 1 + h * w, dim]: the class token's as it is, the grid's resized where it is another."""
        n = self.grid
        if (h, w) == (n, n):
            return self.pos_embed
        grid = self.pos_embed[:, 1:].reshape(1, n, n, -1).permute(0, 3, 1, 2)
        if self.resizing == "dino":  # interpolate_pos_encoding of DINO, and of DINOv2 without registers
            grid = F.interpolate(grid, scale_factor=((h + 0.1) / n, (w + 0.1) / n), mode="bicubic")
        elif self.resizing == "antialias":  # of DINOv2 with registers, and timm's
            grid = F.interpolate(grid, size=(h, w), mode="bicubic", antialias=True)
        else:
            raise ValueError(f"unknown pos_embed {self.resizing}")
        assert grid.shape[2:] == (h, w)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    def forward(self, image):
        """Class token and means of all and of the patches' tokens after the last norm; the class token after each
        block before it."""
        x = self.patch_embed.proj(image)
        h, w = x.shape[2:]
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        x = x + self.positions(h, w)
        prefix = 1
        if hasattr(self, "register_tokens"):
            registers = self.register_tokens.expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], registers, x[:, 1:]], dim=1)
            prefix += registers.shape[1]
        out = {}
        for i, block in enumerate(self.blocks):
            x = block(x)
            out[f"tap.block{i}"] = x[:, 0]
        x = self.norm(x)
        out |= {"out.trunk": x[:, 0], "out.tokens_mean": x.mean(dim=1), "out.patch_mean": x[:, prefix:].mean(dim=1)}
        return out
