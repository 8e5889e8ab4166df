"""Reference implementations in PyTorch (float32, NCHW, CPU) of what percept runs: ResNets,
projector heads, guided-diffusion's UNet with RCDM's conditioning, schedules, samplers and
preprocessing. Written to be read, not to be fast. Module names are chosen so that
state_dict() has the names of released checkpoints."""
import math

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.transforms import InterpolationMode

# ---------------------------------------------------------------- ResNets


def build_resnet(config):
    """config: {"arch": a torchvision name} or {"block", "layers", "width"}."""
    if "arch" in config:
        return torchvision.models.get_model(config["arch"], weights=None)
    block = {"basic": BasicBlock, "bottleneck": Bottleneck}[config["block"]]
    width = config["width"]
    net = ResNet(block, config["layers"])
    net.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
    net.bn1 = nn.BatchNorm2d(width)
    net.inplanes = width
    for i, blocks in enumerate(config["layers"]):
        stage = net._make_layer(block, width << i, blocks, stride=1 if i == 0 else 2)
        setattr(net, f"layer{i + 1}", stage)
    net.fc = nn.Linear(net.inplanes, 1000)
    return net


def run_resnet(net, image):
    """Logits, pooled trunk, and spatial means after stem (max pooling included) and stages."""
    mean = lambda x: x.mean(dim=(2, 3))
    x = net.maxpool(net.relu(net.bn1(net.conv1(image))))
    out = {"tap.stem": mean(x)}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        x = getattr(net, name)(x)
        out[f"tap.{name}"] = mean(x)
    out["out.trunk"] = mean(x)
    out["out.logits"] = net.fc(out["out.trunk"])
    return out


# ---------------------------------------------------------------- projector heads


def mlp(dims, act, norm, bias, last_bias):
    """Linear, (BatchNorm,) activation, ..., Linear."""
    layers = []
    for i, o in zip(dims[:-2], dims[1:-1]):
        layers += [nn.Linear(i, o, bias=bias)] + ([nn.BatchNorm1d(o)] if norm else []) + [act()]
    return nn.Sequential(*layers, nn.Linear(dims[-2], dims[-1], bias=last_bias))


class MlpHead(nn.Module):
    """DINO and SimCLR keep their layers under `mlp`; DINO has an unused last layer of prototypes."""

    def __init__(self, layers, prototypes=None):
        super().__init__()
        self.mlp = layers
        if prototypes:
            self.last_layer = nn.Linear(prototypes, 1, bias=False)

    def forward(self, x):
        return self.mlp(x)


def build_head(config):
    """config: {"head", "dims"}, for DINO also "use_bn" (true when absent)."""
    kind, dims = config["head"], config["dims"]
    if kind == "dino":
        layers = mlp(dims, nn.GELU, norm=config.get("use_bn", True), bias=True, last_bias=True)
        return MlpHead(layers[0] if len(dims) == 2 else layers, prototypes=dims[-1])
    if kind == "simclr":
        return MlpHead(mlp(dims, nn.ReLU, norm=False, bias=True, last_bias=True))
    if kind == "vicreg":
        return mlp(dims, nn.ReLU, norm=True, bias=True, last_bias=False)
    if kind in ("byol", "swav"):
        return mlp(dims, nn.ReLU, norm=True, bias=True, last_bias=True)
    if kind == "barlow":  # one Sequential per layer, no biases
        hidden = [
            nn.Sequential(nn.Linear(i, o, bias=False), nn.BatchNorm1d(o), nn.ReLU())
            for i, o in zip(dims[:-2], dims[1:-1])
        ]
        return nn.Sequential(*hidden, nn.Sequential(nn.Linear(dims[-2], dims[-1], bias=False)))
    raise ValueError(f"unknown head {kind}")


# ---------------------------------------------------------------- UNet


def timestep_embedding(t, dim):
    """[cos(t f_i) ..., sin(t f_i) ...], f_i = 10000^(-i / half), zero-padded if dim is odd."""
    half = dim // 2
    freqs = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angle = t.float()[:, None] * freqs
    return F.pad(torch.cat([angle.cos(), angle.sin()], dim=1), (0, dim % 2))


class GroupNorm(nn.GroupNorm):
    """GroupNorm(32) that ignores the conditioning vector."""

    def __init__(self, channels):
        super().__init__(32, channels)

    def forward(self, x, s=None):
        return super().forward(x)


class SpectralLinear(nn.Linear):
    """Linear whose weight is divided by an estimate of its largest singular value: one power
    iteration from the stored vector u0, not stored back. sv0 is a log of training, not used."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.register_buffer("u0", torch.randn(1, outputs))
        self.register_buffer("sv0", torch.ones(1))

    def forward(self, x):
        w = self.weight
        v = F.normalize(self.u0 @ w, eps=1e-12)
        u = F.normalize(v @ w.t(), eps=1e-12)
        sigma = (v @ w.t() @ u.t()).squeeze()
        return F.linear(x, w / sigma, self.bias)


class ConditionalBatchNorm(nn.Module):
    """Batch norm, then a gain and a bias computed from s."""

    def __init__(self, channels, s_dim, linear):
        super().__init__()
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))
        self.gain = linear(s_dim, channels)
        self.bias = linear(s_dim, channels)

    def forward(self, x, s):
        x = F.batch_norm(x, self.stored_mean, self.stored_var, training=self.training, eps=1e-5)
        return x * (1 + self.gain(s))[:, :, None, None] + self.bias(s)[:, :, None, None]


class ResBlock(nn.Module):
    """resample is None, or a function applied to the activated input and to the skip path."""

    def __init__(self, inputs, outputs, emb_dim, norm, film, resample=None):
        super().__init__()
        conv = lambda i, o: nn.Conv2d(i, o, 3, padding=1)
        self.film, self.resample = film, resample or (lambda x: x)
        self.in_layers = nn.Sequential(norm(inputs), nn.SiLU(), conv(inputs, outputs))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_dim, outputs * (2 if film else 1)))
        self.out_layers = nn.Sequential(  # the Identity stands where training drops out
            norm(outputs), nn.SiLU(), nn.Identity(), conv(outputs, outputs)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, emb, s):
        norm, silu, conv = self.in_layers
        h = conv(self.resample(silu(norm(x, s))))
        e = self.emb_layers(emb)[:, :, None, None]
        norm, silu, _, conv = self.out_layers
        if self.film:
            scale, shift = e.chunk(2, dim=1)
            h = norm(h, s) * (1 + scale) + shift
        else:
            h = norm(h + e, s)
        return self.skip_connection(self.resample(x)) + conv(silu(h))


class Attention(nn.Module):
    def __init__(self, channels, heads, new_order):
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = GroupNorm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        n, c, h, w = x.shape
        flat = x.reshape(n, c, h * w)
        qkv = self.qkv(self.norm(flat))
        if self.new_order:  # channels run [q, k, v][head][channel]
            q, k, v = qkv.reshape(n, 3, self.heads, c // self.heads, h * w).unbind(1)
        else:  # [head][q, k, v][channel]
            q, k, v = qkv.reshape(n, self.heads, 3, c // self.heads, h * w).unbind(2)
        scale = (c // self.heads) ** -0.25
        p = torch.softmax((q * scale).transpose(2, 3) @ (k * scale), dim=-1)  # [n, head, query, key]
        a = (v @ p.transpose(2, 3)).reshape(n, c, h * w)
        return (flat + self.proj_out(a)).reshape(n, c, h, w)


class Down(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x):
        return self.op(x)


class Up(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(nearest2x(x))


def nearest2x(x):
    return F.interpolate(x, scale_factor=2, mode="nearest")


def halve(x):
    return F.avg_pool2d(x, 2)


MULT_BY_SIZE = {64: "1,2,3,4", 128: "1,1,2,3,4", 256: "1,1,2,2,4,4", 512: "0.5,1,1,2,2,4,4"}


class UNet(nn.Module):
    """guided-diffusion's UNet. config: its flags, plus num_classes (with class_cond), ssl_dim,
    conditioning (none, time_embedding, cbn) and spectral_norm (with cbn)."""

    channels_in = 3
    s_dim = 512  # of what conditional batch norms are computed from

    def __init__(self, config):
        super().__init__()
        base, per_level = config["num_channels"], config["num_res_blocks"]
        mult = config["channel_mult"] or MULT_BY_SIZE[config["image_size"]]
        widths = [int(float(m) * base) for m in mult.split(",")]
        attention_rates = [config["image_size"] // int(r) for r in config["attention_resolutions"].split(",")]
        film, updown = config["use_scale_shift_norm"], config["resblock_updown"]
        cond, feat_dim = config["conditioning"], config["ssl_dim"]
        heads_down = config["num_heads"]
        heads_up = heads_down if config["num_heads_upsample"] == -1 else config["num_heads_upsample"]
        emb_dim, s_dim = 4 * base, self.s_dim

        self.base = base
        self.time_embed = nn.Sequential(nn.Linear(base, emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim))
        self.label_emb = nn.Embedding(config["num_classes"], emb_dim) if config["class_cond"] else None
        self.ssl_emb = nn.Linear(feat_dim, emb_dim) if cond == "time_embedding" else None
        linear = SpectralLinear if config.get("spectral_norm") else nn.Linear
        self.shared = linear(feat_dim, s_dim) if cond == "cbn" else None
        norm = (lambda c: ConditionalBatchNorm(c, s_dim, linear)) if cond == "cbn" else GroupNorm

        def res(inputs, outputs, resample=None):
            return ResBlock(inputs, outputs, emb_dim, norm, film, resample)

        def attention(channels, heads):
            if config["num_head_channels"] != -1:
                heads = channels // config["num_head_channels"]
            return Attention(channels, heads, config["use_new_attention_order"])

        rate, ch, skips = 1, widths[0], [widths[0]]
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(self.channels_in, ch, 3, padding=1)])])
        for level, width in enumerate(widths):
            for _ in range(per_level):
                block = [res(ch, width)]
                ch = width
                if rate in attention_rates:
                    block.append(attention(ch, heads_down))
                self.input_blocks.append(nn.ModuleList(block))
                skips.append(ch)
            if level + 1 < len(widths):
                down = res(ch, ch, halve) if updown else Down(ch)
                self.input_blocks.append(nn.ModuleList([down]))
                skips.append(ch)
                rate *= 2

        self.middle_block = nn.ModuleList([res(ch, ch), attention(ch, heads_down), res(ch, ch)])

        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(per_level + 1):
                block = [res(ch + skips.pop(), width)]
                ch = width
                if rate in attention_rates:
                    block.append(attention(ch, heads_up))
                if level > 0 and i == per_level:
                    block.append(res(ch, ch, nearest2x) if updown else Up(ch))
                    rate //= 2
                self.output_blocks.append(nn.ModuleList(block))

        channels_out = 6 if config["learn_sigma"] else 3
        self.out = nn.Sequential(GroupNorm(ch), nn.SiLU(), nn.Conv2d(ch, channels_out, 3, padding=1))

    def forward(self, x, t, feat=None, y=None):
        emb = self.time_embed(timestep_embedding(t, self.base))
        if self.label_emb is not None:
            emb = emb + self.label_emb(y)
        if self.ssl_emb is not None:
            emb = emb + self.ssl_emb(feat)
        s = self.shared(feat) if self.shared is not None else None

        def run(block, h):
            for layer in block:
                h = layer(h, emb, s) if isinstance(layer, ResBlock) else layer(h)
            return h

        h, skips = x, []
        for block in self.input_blocks:
            h = run(block, h)
            skips.append(h)
        h = run(self.middle_block, h)
        for block in self.output_blocks:
            h = run(block, torch.cat([h, skips.pop()], dim=1))
        return self.out(h)


# ---------------------------------------------------------------- schedules


def base_betas(name, steps):
    if name == "linear":
        return np.linspace(0.1 / steps, 20.0 / steps, steps)
    if name == "cosine":
        alpha_bar = lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        ratio = [alpha_bar((i + 1) / steps) / alpha_bar(i / steps) for i in range(steps)]
        return np.array([min(1 - r, 0.999) for r in ratio])
    raise ValueError(f"unknown noise schedule {name}")


def respaced_timesteps(steps, respacing):
    """The original timesteps kept, ascending. "" keeps all; "ddimN" takes every k-th such that N
    remain; "a,b,c" spreads a, b, c steps over equal sections, both ends included."""
    if respacing.startswith("ddim"):
        want = int(respacing[len("ddim"):])
        for stride in range(1, steps):
            if len(range(0, steps, stride)) == want:
                return list(range(0, steps, stride))
        raise ValueError(f"no integer stride takes {want} of {steps} steps")
    counts = [int(c) for c in respacing.split(",")] if respacing else [steps]
    kept, start = set(), 0
    for i, count in enumerate(counts):
        size = steps // len(counts) + (i < steps % len(counts))
        if count > size:
            raise ValueError(f"cannot take {count} steps of a section of {size}")
        stride = (size - 1) / (count - 1) if count > 1 else 1
        offset = 0.0
        for _ in range(count):
            kept.add(start + round(offset))
            offset += stride
        start += size
    return sorted(kept)


class Schedule:
    """The tables of a respaced diffusion (at least two steps), in float64; index 0 is the least noisy."""

    TABLES = (
        "betas alphas_cumprod alphas_cumprod_prev sqrt_recip_alphas_cumprod "
        "sqrt_recipm1_alphas_cumprod posterior_variance posterior_log_variance_clipped "
        "posterior_mean_coef1 posterior_mean_coef2 timestep_map"
    ).split()

    def __init__(self, noise_schedule, steps, respacing):
        kept = respaced_timesteps(steps, respacing)
        full = np.cumprod(1 - base_betas(noise_schedule, steps))[kept]
        self.timestep_map = np.array(kept, dtype=np.int64)
        self.betas = 1 - full / np.append(1.0, full[:-1])
        self.alphas_cumprod = bar = np.cumprod(1 - self.betas)
        self.alphas_cumprod_prev = prev = np.append(1.0, bar[:-1])
        self.alphas_cumprod_next = np.append(bar[1:], 0.0)
        self.sqrt_recip_alphas_cumprod = np.sqrt(1 / bar)
        self.sqrt_recipm1_alphas_cumprod = np.sqrt(1 / bar - 1)
        self.posterior_variance = var = self.betas * (1 - prev) / (1 - bar)
        self.posterior_log_variance_clipped = np.log(np.append(var[1], var[1:]))
        self.posterior_mean_coef1 = self.betas * np.sqrt(prev) / (1 - bar)
        self.posterior_mean_coef2 = (1 - prev) * np.sqrt(1 - self.betas) / (1 - bar)
        self.log_betas = np.log(self.betas)
        self.log_fixed_large = np.log(np.append(var[1], self.betas[1:]))


# ---------------------------------------------------------------- samplers


def sample(model, config, x, noise):
    """A whole run from x. model(x, t) gives the network's output; noise[k] is what the k-th step
    taken adds (None for ddim_reverse). Yields (x, predicted x_0) after each step."""
    schedule = Schedule(config["noise_schedule"], config["diffusion_steps"], config["timestep_respacing"])
    last = len(schedule.betas) - 1
    reverse, eta = config["sampler"] == "ddim_reverse", config["eta"]
    t_scale = 1000.0 / config["diffusion_steps"]
    for k in range(last + 1):
        i = k if reverse else last - k
        table = lambda name: torch.tensor(getattr(schedule, name)[i]).float()
        t = torch.full((len(x),), int(schedule.timestep_map[i]))
        out = model(x, t.float() * t_scale if config["rescale_timesteps"] else t)
        if config["learn_sigma"]:
            out, v = out.chunk(2, dim=1)
            frac = (v + 1) / 2
            log_var = frac * table("log_betas") + (1 - frac) * table("posterior_log_variance_clipped")
        else:
            log_var = table("log_fixed_large")

        recip, recipm1 = table("sqrt_recip_alphas_cumprod"), table("sqrt_recipm1_alphas_cumprod")
        x0 = out if config["predict_xstart"] else recip * x - recipm1 * out
        if config["clip_denoised"]:
            x0 = x0.clamp(-1, 1)

        if config["sampler"] == "ddpm":
            x = table("posterior_mean_coef1") * x0 + table("posterior_mean_coef2") * x
            if i > 0:
                x = x + torch.exp(0.5 * log_var) * noise[k]
        else:
            eps = (recip * x - x0) / recipm1
            if reverse:
                to, sigma = table("alphas_cumprod_next"), torch.tensor(0.0)
            else:
                bar, to = table("alphas_cumprod"), table("alphas_cumprod_prev")
                sigma = eta * torch.sqrt((1 - to) / (1 - bar)) * torch.sqrt(1 - bar / to)
            x = x0 * torch.sqrt(to) + torch.sqrt(1 - to - sigma**2) * eps
            if i > 0 and not reverse:
                x = x + sigma * noise[k]
        yield x, x0


# ---------------------------------------------------------------- preprocessing


def centre_crop(image, size):
    """RCDM's centre crop of a Pillow image: halve by box filter while the short side is at least
    twice the size, resize the short side to the size (bicubic), crop. uint8 [3, size, size]."""
    image = image.convert("RGB")
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize(tuple(round(side * scale) for side in image.size), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    image = image.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def preprocess(image, preset, size):
    """uint8 [3, size, size] and what a network is given of it, float32."""
    if preset == "rcdm":
        crop = torch.from_numpy(centre_crop(image, size))
        return crop.numpy(), (crop / 127.5 - 1).numpy()
    if preset == "squash":
        cut = transforms.Resize((size, size), InterpolationMode.BILINEAR)
        crop = transforms.functional.pil_to_tensor(cut(image.convert("RGB")))
        return crop.numpy(), (crop / 127.5 - 1).numpy()
    if preset == "imagenet":  # DINO's eval_linear.py, where 224 has 256
        cut = transforms.Compose([
            transforms.Resize(size * 8 // 7, InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
        ])
        crop = cut(image.convert("RGB"))
        of_imagenet = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        given = of_imagenet(transforms.functional.to_tensor(crop))
        return transforms.functional.pil_to_tensor(crop).numpy(), given.numpy()
    raise ValueError(f"no preset {preset!r}")
