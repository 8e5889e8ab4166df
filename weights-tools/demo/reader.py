"""Trains a network that reads a scene's factors from its picture, to measure what samples show.

    python reader.py FOLDER [--steps N] [--seed N]

Writes FOLDER/reader.pt. Pictures are slightly blurred and noised at random, so that the network does not
rely on details that samples may lack."""
import torch
import torch.nn.functional as F
from torch import nn

import world
from training import DEVICE, IMAGE_SIZE, arguments, generator, learning_rate, mixed_precision, train, write

CLASSES = {"shape": len(world.SHAPES), "hue": world.OBJECT_HUES, "ground": len(world.GROUNDS),
           "ground_hue": world.GROUND_HUES}
BATCH = 256


def targets(scene):
    """Returns the factors of a scene that are numbers: factor -> [n, numbers], about -1 .. 1. An angle becomes its
    cosine and sine. A shape's angle is first multiplied by its symmetry, and the result is 0 if it is not visible."""
    turn = lambda angle, seen=1: torch.stack([angle.cos() * seen, angle.sin() * seen], dim=1)
    spread = lambda value, limits: (value[:, None] - sum(limits) / 2) * (2 / (limits[1] - limits[0]))
    symmetry = world.SYMMETRY.to(scene["shape"].device)[scene["shape"]]
    return {
        "size": spread(scene["size"], world.SIZES),
        "x": spread(scene["x"], world.PLACES),
        "y": spread(scene["y"], world.PLACES),
        "angle": turn(scene["angle"] * symmetry, symmetry > 0),
        "light": turn(scene["light"]),
    }


NUMBERS = {"size": 1, "x": 1, "y": 1, "angle": 2, "light": 2}
OUTPUTS = {**CLASSES, **NUMBERS}


def build():
    layers, channels = [], 3
    for width in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(channels * (IMAGE_SIZE // 8) ** 2, 256), nn.BatchNorm1d(256), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(256, sum(OUTPUTS.values())))
    return model.to(DEVICE, memory_format=torch.channels_last)


def load(folder):
    model = build()
    model.load_state_dict(torch.load(folder / "reader.pt", map_location=DEVICE))
    return model.eval()


def read(model, images):
    """Reads the factors of images in 0 .. 1: factor -> [n, classes or numbers]."""
    out = model((images - 0.5).contiguous(memory_format=torch.channels_last))
    return dict(zip(OUTPUTS, out.split(list(OUTPUTS.values()), dim=1)))


def main():
    folder, options = arguments(__doc__, steps={"type": int, "default": 2000})
    torch.manual_seed(options.seed)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)

    def step(i):
        rng = generator(options.seed, 3, i)
        scene = world.scenes(BATCH, rng)
        image = world.render(scene, IMAGE_SIZE)
        part = lambda: torch.rand(BATCH, 1, 1, 1, generator=rng)
        image = image.lerp(F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False), 0.7 * part())
        image = image + 0.06 * part() * torch.randn(image.shape, generator=rng)
        with mixed_precision():
            got = read(model, image)
        got, numbers = {factor: value.float() for factor, value in got.items()}, targets(scene)
        loss = sum(F.cross_entropy(got[factor], scene[factor]) for factor in CLASSES)
        loss = loss + sum(3 * F.mse_loss(got[factor], numbers[factor]) for factor in NUMBERS)
        learning_rate(optimizer, 2e-3, i, options.steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    train(folder, "reader", options.steps, options.seed, {"model": model, "optimizer": optimizer}, step)
    write(folder / "reader.pt", lambda path: torch.save(model.state_dict(), path))


if __name__ == "__main__":
    main()
