"""Trains the demo's encoder and its projector head by VICReg (Bardes et al. 2022, https://arxiv.org/abs/2105.04906).

    python vicreg.py FOLDER [--steps N] [--seed N]

Writes FOLDER/vicreg.pt, under the names of VICReg's own checkpoints, and FOLDER/vicreg.csv."""
import math

import torch
import torch.nn.functional as F
from torch import nn

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

ENCODER = {"block": "basic", "layers": [1, 1, 1, 1], "width": 32}
HEAD = {"head": "vicreg", "dims": [256, 512, 512, 256]}
BATCH = 256


def build():
    encoder = reference.build_resnet(ENCODER)
    encoder.fc = nn.Identity()
    model = nn.ModuleDict({"backbone": encoder, "projector": reference.build_head(HEAD)})
    return model.to(DEVICE, memory_format=torch.channels_last)


def load(folder):
    """Returns the trained encoder and head as percept runs them, with matrices rounded to half precision."""
    state = torch.load(folder / "vicreg.pt", map_location=DEVICE)["model"]
    stored = lambda value: value.half().float() if value.dim() > 1 else value
    model = build()
    model.load_state_dict({name.removeprefix("module."): stored(value) for name, value in state.items()})
    return model.eval()


@torch.no_grad()
def representations(model, images):
    """Returns the representations of images in -1 .. 1: the trunk's [n, 256] and the head's [n, 256]."""
    trunk = model["backbone"](images.to(memory_format=torch.channels_last))
    return {"trunk": trunk, "head": model["projector"](trunk)}


def view(scene, rng):
    """Returns random views: windows of 0.4 to 1 of the picture's area, some of them mirrored, in other colours or in
    grey. Half of them are as coarse as the images that decoders make. If most views kept their colours, the encoder
    would learn colours so easily that it would never learn shapes."""
    n = len(scene["shape"])
    uniform = lambda low, high: low + (high - low) * torch.rand(n, generator=rng)
    half = uniform(0.4, 1).sqrt()
    centre = torch.stack([uniform(-1, 1), uniform(-1, 1)], dim=1) * (1 - half)[:, None]
    image = world.render(scene, ENCODED_SIZE, centre, half, flip=uniform(0, 1) < 0.5)
    coarse = (uniform(0, 1) < 0.5)[:, None, None, None]
    image = torch.where(coarse, enlarged(F.avg_pool2d(image, ENCODED_SIZE // IMAGE_SIZE)), image).clamp(0, 1)
    jittered = (uniform(0, 1) < 0.8).float()
    by = lambda strength: (1 + jittered * uniform(-strength, strength))[:, None, None, None]
    image = turn_hues(image, jittered * uniform(-0.03, 0.03))
    grey = luminance(image)
    image = (grey + by(0.3) * (image - grey)).clamp(0, 1)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    image = (mean + by(0.4) * (image - mean)).clamp(0, 1)
    image = (by(0.4) * image).clamp(0, 1)
    grey = (uniform(0, 1) < 0.25)[:, None, None, None]
    return torch.where(grey, luminance(image), image) * 2 - 1


def enlarged(image):
    """Enlarges images for the encoder, as Pillow and percept do."""
    return F.interpolate(image, (ENCODED_SIZE, ENCODED_SIZE), mode="bicubic", antialias=True)


def luminance(image):
    return (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)


def turn_hues(image, turns):
    """Rotates the colours of images [n, 3, h, w] about the axis of greys, each by its number of turns [n]."""
    cos, sin = (turns * 2 * math.pi).cos(), (turns * 2 * math.pi).sin()
    third, cross = (1 - cos) / 3, sin / 3**0.5
    row = torch.stack([cos + third, third - cross, third + cross], dim=1)
    turn = torch.stack([row, row.roll(1, dims=1), row.roll(2, dims=1)], dim=1)
    return torch.einsum("nij,njhw->nihw", turn, image).clamp(0, 1)


def loss_of(a, b):
    """Returns VICReg's loss for the embeddings [n, d] of two views, and its terms: invariance, variance, covariance."""
    invariance = F.mse_loss(a, b)
    variance = sum(F.relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean() / 2 for z in (a, b))
    covariance = 0.0
    for z in (a, b):
        z = z - z.mean(dim=0)
        matrix = z.T @ z / (len(z) - 1)
        covariance = covariance + (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]
    terms = {"invariance": invariance, "variance": variance, "covariance": covariance}
    return 25 * invariance + 25 * variance + covariance, terms


def main():
    folder, options = arguments(__doc__, steps={"type": int, "default": 2000})
    torch.manual_seed(options.seed)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4, fused=True)

    def step(i):
        rng = generator(options.seed, 1, i)
        scene = world.scenes(BATCH, rng)
        images = torch.cat([view(scene, rng), view(scene, rng)]).contiguous(memory_format=torch.channels_last)
        with mixed_precision():
            embeddings = model["projector"](model["backbone"](images))
        a, b = embeddings.float().chunk(2)
        loss, terms = loss_of(a, b)
        learning_rate(optimizer, 1.5e-3, i, options.steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss, **terms}

    train(folder, "vicreg", options.steps, options.seed, {"model": model, "optimizer": optimizer}, step)
    state = {"model": {f"module.{name}": value for name, value in model.state_dict().items()}}
    write(folder / "vicreg.pt", lambda path: torch.save(state, path))


if __name__ == "__main__":
    main()
