"""Trains a decoder of the demo by RCDM (Bordes et al. 2022, https://arxiv.org/abs/2112.09164): a diffusion UNet that
is conditioned on the representation of the picture that it denoises.

    python rcdm.py FOLDER [--layer trunk|head] [--conditioning cbn|time_embedding] [--steps N] [--seed N]

Needs FOLDER/vicreg.pt. Writes three files that begin with FOLDER/LAYER_CONDITIONING: .pt, under guided-diffusion's
names; .json, its flags for `percept-weights convert --config`; and .csv, its losses."""
import copy
import json
from pathlib import Path

import torch
from torch import nn

import vicreg
import world
from training import (
    DEVICE,
    ENCODED_SIZE,
    IMAGE_SIZE,
    arguments,
    generator,
    learning_rate,
    mixed_precision,
    reference,
    train,
    write,
)

FLAGS = {
    "image_size": IMAGE_SIZE,
    "num_channels": 32,
    "num_res_blocks": 1,
    "channel_mult": "1,2,3,3",
    "attention_resolutions": "8",
    "num_heads": 4,
    "num_heads_upsample": -1,
    "num_head_channels": -1,
    "use_scale_shift_norm": True,
    "resblock_updown": False,
    "use_new_attention_order": False,
    "class_cond": False,
    "num_classes": 0,
    "learn_sigma": False,
    "predict_xstart": True,
    "diffusion_steps": 1000,
    "noise_schedule": "cosine",
}
BATCH = 32


class Decoder(reference.UNet):
    s_dim = 128


def build(flags):
    """Returns guided-diffusion's UNet before training, in which every block adds nothing and the result is 0."""
    model = Decoder(flags)
    for module in model.modules():
        if isinstance(module, reference.ResBlock):
            nn.init.zeros_(module.out_layers[3].weight)
        if isinstance(module, reference.Attention):
            nn.init.zeros_(module.proj_out.weight)
    nn.init.zeros_(model.out[2].weight)
    return model.to(DEVICE, memory_format=torch.channels_last)


class Whitening:
    """Maps h to W (h - mean), whose components are uncorrelated and have variance 1. Components with
    less than a thousandth of the largest variance get a variance below 1. After training, this is folded into the
    matrix product that reads h."""

    def __init__(self, h):
        self.mean = h.mean(dim=0)
        variance, axes = torch.linalg.eigh(torch.cov(h.T))
        self.matrix = (axes / variance.clamp(min=1e-3 * variance.max()).sqrt()).T

    def __call__(self, h):
        return (h - self.mean) @ self.matrix.T

    @torch.no_grad()
    def fold_into(self, linear):
        linear.weight.copy_(linear.weight @ self.matrix)
        linear.bias.sub_(linear.weight @ self.mean)


class Average:
    """An exponential moving average of a model's weights."""

    def __init__(self, model):
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model, i):
        keep = min(0.9995, (1 + i) / (10 + i))
        torch._foreach_lerp_(list(self.model.state_dict().values()), list(model.state_dict().values()), 1 - keep)

    def state_dict(self):
        return self.model.state_dict()

    def load_state_dict(self, state):
        self.model.load_state_dict(state)


class Task:
    """The task of denoising scenes, given their representation at a layer."""

    def __init__(self, folder, layer, seed):
        self.encoder, self.layer, self.seed = vicreg.load(folder), layer, seed
        betas = torch.as_tensor(reference.base_betas(FLAGS["noise_schedule"], FLAGS["diffusion_steps"]))
        self.kept = torch.cumprod(1 - betas, dim=0).float()  # alphas_cumprod
        h, _ = self.scenes(4096, generator(seed, 0))
        self.whitening = Whitening(h)
        self.ssl_dim = h.shape[1]

    def scenes(self, n, rng):
        """Returns the representations of n scenes, and x_0. The first half of the scenes is encoded as drawn, the other
        half as coarse as x_0."""
        scene = world.scenes(n, rng)
        x0 = world.picture(scene, IMAGE_SIZE)
        fine = world.picture({factor: value[: n // 2] for factor, value in scene.items()}, ENCODED_SIZE)
        coarse = vicreg.enlarged(x0[n // 2 :].float()).clamp(0, 255).round()
        h = vicreg.representations(self.encoder, torch.cat([fine, coarse]) / 127.5 - 1)[self.layer]
        return h, (x0 / 127.5 - 1).contiguous(memory_format=torch.channels_last)

    def loss(self, model, n, *seed):
        """Returns |x_0 - model(x_t, t, h)|^2 for a batch of scenes, which each seed draws anew, weighted by the
        signal-to-noise ratio clamped between 1 (Salimans and Ho 2022) and 5 (Hang et al. 2023). Also returns the
        unweighted errors and the timesteps."""
        rng = generator(self.seed, *seed)
        h, x0 = self.scenes(n, rng)
        t = torch.randint(len(self.kept), (n,), generator=rng)
        kept = self.kept[t][:, None, None, None]
        noise = torch.randn(x0.shape, generator=rng)
        x = kept.sqrt() * x0 + (1 - kept).sqrt() * noise
        with mixed_precision():
            made = model(x, t, self.whitening(h))
        errors = (made.float() - x0).square().mean(dim=(1, 2, 3))
        weight = (kept / (1 - kept))[:, 0, 0, 0].clamp(1, 5)
        return (weight * errors).mean(), errors, t


def main():
    folder, options = arguments(
        __doc__,
        steps={"type": int, "default": 4000},
        layer={"choices": ["trunk", "head"], "default": "trunk"},
        conditioning={"choices": ["cbn", "time_embedding"], "default": "cbn"},
    )
    torch.manual_seed(options.seed)
    task = Task(folder, options.layer, options.seed)
    flags = FLAGS | {"conditioning": options.conditioning, "ssl_dim": task.ssl_dim}
    model = build(flags)
    average = Average(model)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    parts = {"model": model, "average": average, "optimizer": optimizer}

    def step(i):
        loss, errors, t = task.loss(model, BATCH, 1, i)
        learning_rate(optimizer, 1e-3, i, options.steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model, i)
        # In the noisiest tenth of the timesteps, h alone tells nearly everything about the image. On average, a
        # tenth of the batch has such a timestep.
        return {"loss": loss, "error": errors.mean(), "noisiest tenth": (errors * (t >= 900)).sum() / (0.1 * BATCH)}

    name = f"{options.layer}_{options.conditioning}"
    train(folder, name, options.steps, options.seed, parts, step)
    finish(task, average.model, folder / name, flags)


@torch.no_grad()
def finish(task, model, path, flags):
    """Computes the batch norms' statistics for the averaged weights, folds the whitening, and writes the files."""
    model.train()
    for i in range(30):
        task.loss(model, 256, 2, i)
    task.whitening.fold_into(model.shared if model.shared is not None else model.ssl_emb)
    write(f"{path}.json", lambda part: Path(part).write_text(json.dumps(flags, indent=1) + "\n"))
    write(f"{path}.pt", lambda part: torch.save(model.state_dict(), part))


if __name__ == "__main__":
    main()
