"""The common part of all trainings: fixed seeds, checkpoints to resume from, and a log."""
import argparse
import csv
import math
import os
import sys
import time
from pathlib import Path

import torch

# The goldens use the same networks.
sys.path.insert(0, str(Path(__file__).parents[2] / "tests/goldens"))
import reference_models as reference  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.set_default_device(DEVICE)
IMAGE_SIZE = 32  # of the images that decoders make
ENCODED_SIZE = 64  # of the encoder's input


def generator(*seed):
    """Returns a random generator that depends on these integers alone. With a new one for each step, an interrupted
    training resumes to the same weights."""
    return torch.Generator(DEVICE).manual_seed(hash(seed) & 0x7FFF_FFFF)


def mixed_precision():
    """Returns a context in which products use bfloat16. They take two thirds of the time on a CPU that supports it."""
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16)


def write(path, save):
    """Writes a file under another name and then renames it, so that it is never seen incomplete."""
    save(str(path) + ".part")
    os.replace(str(path) + ".part", path)


def train(folder, name, steps, seed, parts, step, every=250):
    """Calls step(i), which returns a dict of figures, for i in 0 .. steps. `parts` maps names to objects with a
    state_dict. Resumes from folder/name.training.pt if it exists. Writes the means of the figures over `every` steps
    to folder/name.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    saved, log = folder / f"{name}.training.pt", folder / f"{name}.csv"
    done, seconds = 0, 0.0
    if saved.exists():
        state = torch.load(saved, map_location=DEVICE)
        if (state["seed"], state["steps"]) != (seed, steps):
            sys.exit(f"{saved} is of seed {state['seed']} and {state['steps']} steps: remove it to begin anew")
        done, seconds = state["done"], state["seconds"]
        for part in parts:
            parts[part].load_state_dict(state[part])
    elif log.exists():
        log.unlink()

    sums, began = {}, time.monotonic()
    for i in range(done, steps):
        for figure, value in step(i).items():
            sums[figure] = sums.get(figure, 0.0) + value.item()
        if (i + 1) % every and i + 1 < steps:
            continue
        elapsed = seconds + time.monotonic() - began
        row = {"step": i + 1, "seconds": round(elapsed)}
        row |= {figure: f"{total / (i % every + 1):.5f}" for figure, total in sums.items()}
        sums = {}
        with open(log, "a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
        print(name, *(f"{key} {value}" for key, value in row.items()), flush=True)
        state = {part: parts[part].state_dict() for part in parts}
        state |= {"seed": seed, "steps": steps, "done": i + 1, "seconds": elapsed}
        write(saved, lambda path: torch.save(state, path))


def learning_rate(optimizer, highest, i, steps):
    """Sets the learning rate, which rises linearly for 200 steps and then falls to 0 along a cosine."""
    rate = highest * min((i + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * i / steps))
    for group in optimizer.param_groups:
        group["lr"] = rate


def arguments(doc, **options):
    """Returns the folder and the options of the command line: --seed and `options`, name -> settings for argparse."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything of a training lies")
    for name, settings in {"seed": {"type": int, "default": 1}, **options}.items():
        parser.add_argument(f"--{name}", **settings)
    given = parser.parse_args()
    return given.folder, given
