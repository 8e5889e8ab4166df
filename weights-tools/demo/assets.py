"""Draws the demo's pictures, and makes goldens of its models: the results of PyTorch with the stored weights.

    python assets.py FOLDER [--seed N]

Needs the model files in FOLDER/assets. Writes FOLDER/assets/images and FOLDER/assets/goldens."""
import json

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import rcdm
import world
from training import ENCODED_SIZE, IMAGE_SIZE, arguments, generator, reference

PICTURE_SIZE = 256
NOTES = "trained weights as they are stored, computed in f32"


def draw(folder, seed):
    """Draws a picture of each shape. Together they show all grounds."""
    folder.mkdir(exist_ok=True)
    scene = world.scenes(len(world.SHAPES), generator(seed, 5))
    count = torch.arange(len(world.SHAPES))
    scene |= {"shape": count, "ground": count % len(world.GROUNDS)}
    for shape, picture in zip(world.SHAPES, world.picture(scene, PICTURE_SIZE)):
        number = world.SHAPES.index(shape) + 1
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{number}_{shape}.png")


def load(path, build):
    """Loads a model file into the model that build(config) returns."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["percept.config"])
        weights = {name: file.get_tensor(name).float() for name in file.keys()}
    model = build(config)
    model.load_state_dict(weights)
    return config, model.eval()


def trunk_of(config):
    encoder = reference.build_resnet(config)
    encoder.fc = nn.Identity()
    return encoder


@torch.no_grad()
def goldens(assets, seed):
    folder = assets / "goldens"
    folder.mkdir(exist_ok=True)

    def write(name, kind, config, weights, tensors):
        metadata = {"kind": kind, "config": json.dumps(config), "weights_file": f"../{weights}", "notes": NOTES}
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(tensors, folder / f"{name}.safetensors", metadata=metadata)

    pictures = [Image.open(path) for path in sorted((assets / "images").glob("*.png"))]
    crops = [torch.from_numpy(reference.centre_crop(picture, ENCODED_SIZE)) for picture in pictures]
    images = torch.stack(crops) / 127.5 - 1
    config, encoder = load(assets / "encoder.safetensors", trunk_of)
    trunk = encoder(images)
    write("encoder", "resnet", config, "encoder.safetensors", {"in.image": images, "out.trunk": trunk})
    config, head = load(assets / "head.safetensors", reference.build_head)
    feats = {"trunk": trunk, "head": head(trunk)}
    write("head", "head", config, "head.safetensors", {"in.trunk": trunk, "out.head": feats["head"]})

    for layer, sampler, respacing, batch in (
        ("trunk", "ddim", "ddim25", 4),
        ("head", "ddim", "ddim25", 4),
        ("trunk", "ddpm", "20", 2),
    ):
        config, decoder = load(assets / f"decoder_{layer}.safetensors", rcdm.Decoder)
        config |= {"timestep_respacing": respacing, "sampler": sampler, "eta": 0.0, "clip_denoised": True}
        rng = generator(seed, 6)
        shape = (batch, 3, IMAGE_SIZE, IMAGE_SIZE)
        feat, start = feats[layer][:batch], torch.randn(shape, generator=rng)
        tensors = {"in.feat": feat, "in.xT": start}
        noise = torch.zeros(int(respacing.removeprefix("ddim")), *shape)
        if sampler == "ddpm":
            tensors["in.noise"] = noise = torch.randn(noise.shape, generator=rng)
        steps = list(reference.sample(lambda x, t: decoder(x, t, feat=feat), config, start, noise))
        tensors["out.sample"] = steps[-1][0]
        write(f"{layer}_{sampler}{len(noise)}", "sampler", config, f"decoder_{layer}.safetensors", tensors)


def main():
    folder, options = arguments(__doc__)
    draw(folder / "assets/images", options.seed)
    goldens(folder / "assets", options.seed)


if __name__ == "__main__":
    main()
