"""Evaluates the demo's bundles with percept, which encodes pictures, samples from them, and encodes the samples.

    python evaluate.py FOLDER --percept PROGRAM [--seed N]

Needs FOLDER/assets/{trunk,head,trunk_time}.bundle.json and FOLDER/reader.pt. Writes FOLDER/results.json,
FOLDER/results.md and FOLDER/samples.png. The 95 % intervals are bootstrapped: the scenes are redrawn 2,000 times."""
import json
import subprocess
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import reader
import world
from training import IMAGE_SIZE, arguments, generator, write

SCENES = 512
SAMPLES = 2  # per scene
NOISE = 0.015  # of the range: a sample is noisy if its grain is at least the smallest of scenes with this noise
PROBED = 8192, 4096  # scenes to train and to test linear probes on
BUNDLES = {"trunk": "trunk", "head": "head", "trunk_time": "trunk, time embedding"}
FIGURES = {"mean rank": 3, "mean reciprocal rank": 3, "correlation of mean colours": 3, "two samples apart": 1}  # digits
FACTORS = {"shape": "shape", "hue": "hue", "size": "size", "x": "place, x", "y": "place, y", "angle": "angle",
           "light": "light", "ground": "ground", "ground_hue": "ground's hue"}


class Percept:
    """Runs percept's command line."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def run(self, command, pictures, bundle, out, *options):
        bundle = self.folder / f"assets/{bundle}.bundle.json"
        subprocess.run([self.program, command, pictures, "--bundle", bundle, "-o", out, *options], check=True)

    def encode(self, pictures, bundle):
        """Returns the representations [n, d] of a folder of pictures."""
        out = self.folder / "encoded.npy"
        self.run("encode", pictures, bundle, out)
        return torch.from_numpy(np.load(out))

    def sample(self, pictures, bundle, seed):
        """Returns samples of each picture in a folder, uint8 [n, SAMPLES, 3, h, w]. Reuses those of an earlier run."""
        out = self.folder / f"{bundle}_{pictures.name}.npz"
        if not out.exists():
            part = out.with_suffix(".part.npz")
            self.run("sample", pictures, bundle, part, "--samples", str(SAMPLES), "--seed", str(seed), "--resume")
            part.rename(out)
        return torch.from_numpy(np.load(out)["arr_0"]).permute(0, 3, 1, 2).unflatten(0, (-1, SAMPLES))


def folder_of(images, folder):
    """Writes images [n, 3, h, w] as pictures to a folder, and removes older pictures from it."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:05}.png")
    return folder


def interval(statistic, *parts, draws=2000):
    """Returns a statistic of parts [n, ...] and its 95 % interval when the n are redrawn."""
    n, rng = len(parts[0]), generator(4)
    values = []
    for _ in range(draws):
        drawn = torch.randint(n, (n,), generator=rng)
        values.append(float(statistic(*(part[drawn] for part in parts))))
    low, high = np.quantile(values, [0.025, 0.975])
    return {"value": float(statistic(*parts)), "low": float(low), "high": float(high)}


def ranks(of_samples, of_scenes):
    """Ranks each scene among all by the distance of its representation from its sample's. Rank 1 is the nearest."""
    distances = torch.cdist(of_samples.double(), of_scenes.double())
    return 1 + (distances < distances.diagonal()[:, None]).sum(dim=1).double()


def correlation(samples, scenes):
    """Returns Pearson's correlation of mean colours [n, 3], averaged over the three channels."""
    a, b = samples - samples.mean(dim=0), scenes - scenes.mean(dim=0)
    return ((a * b).sum(dim=0) / (a.square().sum(dim=0) * b.square().sum(dim=0)).sqrt()).mean()


def grain(images):
    """Returns a measure of high frequencies: the mean distance, of 255, of a pixel from the median of its 3 x 3
    neighbours, over the half of the pixels with the smallest distances. This half shows noise but no edges."""
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="replicate")
    neighbours = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    distances = (images - neighbours.median(dim=-1).values).abs().mean(dim=1).flatten(1)
    return distances.sort(dim=1).values[:, : distances.shape[1] // 2].mean(dim=1)


def noised(images, rng):
    noise = NOISE * 255 * torch.randn(images.shape, generator=rng)
    return (images + noise).clamp(0, 255).round()


def apart(a, b):
    """Returns the mean distances [n], of 255, of images [n, ..., 3, h, w] from others."""
    return (a.float() - b.float()).abs().flatten(1).mean(dim=1)


def accuracy(right):
    return right.double().mean()


def r2(got, want):
    """Returns R^2 of numbers [n, samples, k]. 1 explains all of the variance."""
    return 1 - (got - want).square().sum() / (want - want.mean(dim=(0, 1))).square().sum()


def scored(factor, got, scene):
    """Scores the readings [n, samples, k] of a factor of n scenes: by accuracy for a class, by R^2 for a number."""
    if factor in reader.CLASSES:
        return interval(accuracy, got.argmax(dim=-1) == scene[factor][:, None])
    seen, want = numbers(factor, scene)
    return interval(r2, got[seen], want[:, None].expand_as(got[seen]))


def numbers(factor, scene):
    """Returns a mask of the scenes in which a factor is visible, and its numbers in them."""
    seen = torch.ones(len(scene["shape"]), dtype=bool)
    if factor == "angle":
        seen = world.SYMMETRY[scene["shape"]] > 0
    return seen, reader.targets(scene)[factor][seen]


def probe(factor, h, scene, h_test):
    """Returns the readings from h_test of a linear map that is trained on h [n, d]."""
    mean, std = h.mean(dim=0), h.std(dim=0).clamp(min=1e-6)
    h, h_test = (h - mean) / std, (h_test - mean) / std
    h, h_test = (torch.cat([part, torch.ones(len(part), 1)], dim=1) for part in (h, h_test))
    if factor not in reader.CLASSES:
        seen, want = numbers(factor, scene)
        h, want = h[seen].double(), want.double()
        weight = torch.linalg.solve(h.T @ h + 1e-3 * len(h) * torch.eye(h.shape[1]), h.T @ want)
        return (h_test.double() @ weight).float()
    weight = torch.zeros(h.shape[1], reader.CLASSES[factor], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=300, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        loss = F.cross_entropy(h @ weight, scene[factor]) + 1e-4 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(loss)
    return (h_test @ weight).detach()


def scenes_of(n, seed, folder):
    scene = world.scenes(n, generator(seed))
    images = world.picture(scene, IMAGE_SIZE)
    return scene, images, folder_of(images, folder)


def evaluate(folder, percept, seed):
    scene, images, pictures = scenes_of(SCENES, seed + 100, folder / "scenes")
    _, drawn, _ = scenes_of(4096, seed + 200, folder / "drawn")
    read = reader.load(folder)
    noisy = grain(noised(drawn, generator(seed, 7)))
    results = {"grain of scenes": summary(grain(drawn)), "grain of noised scenes": summary(noisy)}
    with torch.no_grad():
        results["read from scenes"] = {
            factor: scored(factor, got[:, None], scene) for factor, got in reader.read(read, images / 255).items()
        }
    shown = [images]
    for bundle in BUNDLES:
        h = percept.encode(pictures, bundle)
        samples = percept.sample(pictures, bundle, seed)
        first = samples[:, 0]
        again = percept.encode(folder_of(first, folder / "encoded_again"), bundle)
        rank = ranks(again, h)
        colours = lambda images: images.double().mean(dim=(2, 3))
        grains = grain(samples.flatten(0, 1))
        with torch.no_grad():
            values = reader.read(read, samples.flatten(0, 1) / 255)
        results[bundle] = {
            "mean rank": interval(torch.mean, rank),
            "mean reciprocal rank": interval(torch.mean, 1 / rank),
            "correlation of mean colours": interval(correlation, colours(first), colours(images)),
            "two samples apart": interval(torch.mean, apart(samples[:, 0], samples[:, 1])),
            "grain": summary(grains),
            "noisy": int((grains >= noisy.min()).sum()),
            "samples": len(grains),
            "read from samples": {
                factor: scored(factor, got.unflatten(0, (-1, SAMPLES)), scene) for factor, got in values.items()
            },
        }
        shown.append(samples)
        print(bundle, json.dumps(results[bundle]["mean rank"]), flush=True)
    # Samples of one seed start from the same noise.
    _, of_trunk, _, of_trunk_time = shown
    results["conditionings apart"] = interval(torch.mean, apart(of_trunk, of_trunk_time))
    for bundle in ("trunk", "head"):
        results[bundle]["linear probe"] = probes(folder, percept, bundle, seed)
    sheet(shown, folder / "samples.png")
    return results


def summary(values):
    return {"least": float(values.min()), "mean": float(values.mean()), "largest": float(values.max())}


def probes(folder, percept, bundle, seed):
    trained, tested = (scenes_of(n, seed + 300 + i, folder / f"probed_{i}") for i, n in enumerate(PROBED))
    h, h_test = percept.encode(trained[2], bundle), percept.encode(tested[2], bundle)
    read = lambda factor: probe(factor, h, trained[0], h_test)[:, None]
    return {factor: scored(factor, read(factor), tested[0]) for factor in reader.OUTPUTS}


def sheet(shown, path, rows=16):
    """Draws pictures, and beside each its samples from all bundles."""
    scenes, *of_bundles = shown
    columns = torch.cat([scenes[:rows, None], *(samples[:rows] for samples in of_bundles)], dim=1)
    image = columns.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    Image.fromarray(image.numpy()).resize((image.shape[1] * 2, image.shape[0] * 2), Image.NEAREST).save(path)


def table(results):
    """Formats results as Markdown."""
    shown = lambda cell, digits=2: f"{cell['value']:.{digits}f} ({cell['low']:.{digits}f} to {cell['high']:.{digits}f})"
    lines = ["| | " + " | ".join(BUNDLES.values()) + " |", "| --- |" + " --- |" * len(BUNDLES)]
    for figure, digits in FIGURES.items():
        lines.append(f"| {figure} | " + " | ".join(shown(results[bundle][figure], digits) for bundle in BUNDLES) + " |")
    noisy = (f"{results[bundle]['noisy']} of {results[bundle]['samples']}" for bundle in BUNDLES)
    lines += ["| noisy | " + " | ".join(noisy) + " |"]
    grains = (f"{results[bundle]['grain']['mean']:.2f}, {results[bundle]['grain']['largest']:.2f}" for bundle in BUNDLES)
    lines += ["| grain, mean and largest | " + " | ".join(grains) + " |", ""]
    columns = ["trunk, probe", "head, probe", "trunk, samples", "head, samples", "time embedding, samples", "scenes"]
    lines += ["| factor | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for factor, name in FACTORS.items():
        cells = [results[bundle]["linear probe"][factor] for bundle in ("trunk", "head")]
        cells += [results[bundle]["read from samples"][factor] for bundle in BUNDLES]
        cells.append(results["read from scenes"][factor])
        lines.append(f"| {name} | " + " | ".join(map(shown, cells)) + " |")
    lines += ["", f"conditionings apart: {shown(results['conditionings apart'], 1)}"]
    return "\n".join(lines) + "\n"


def main():
    folder, options = arguments(__doc__, percept={"required": True})
    results = evaluate(folder, Percept(options.percept, folder), options.seed)
    write(folder / "results.json", lambda path: Path(path).write_text(json.dumps(results, indent=1) + "\n"))
    write(folder / "results.md", lambda path: Path(path).write_text(table(results)))
    print(table(results))


if __name__ == "__main__":
    main()
