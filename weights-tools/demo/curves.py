"""Plots the losses of all trainings.

    python curves.py FOLDER

Reads FOLDER/*.csv. Writes FOLDER/curves.png."""
import csv

import matplotlib

from training import arguments, write

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

# The title of each panel, the trainings that it shows, and their figures. In the noisiest tenth of the timesteps,
# h alone tells a decoder nearly everything that it knows about the image.
PANELS = (
    ("vicreg", "vicreg", ("invariance", "variance", "covariance")),
    ("decoders, error", "*_*", ("error",)),
    ("decoders, noisiest tenth", "*_*", ("noisiest tenth",)),
    ("reader, loss", "reader", ("loss",)),
)


def rows(path):
    """Returns the columns of a table: figure -> [value of each row]."""
    with open(path, newline="") as file:
        table = list(csv.DictReader(file))
    return {figure: [float(row[figure]) for row in table] for figure in table[0]}


def main():
    folder, _ = arguments(__doc__)
    drawing, axes = pyplot.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 3), layout="constrained")
    for axis, (title, pattern, figures) in zip(axes, PANELS):
        for path in sorted(folder.glob(f"{pattern}.csv")):
            values = rows(path)
            for figure in figures:
                axis.plot(values["step"], values[figure], label=figure if len(figures) > 1 else path.stem)
        axis.set(xlabel="step", yscale="log", title=title)
        axis.legend()
    write(folder / "curves.png", lambda path: drawing.savefig(path, format="png", dpi=80))


if __name__ == "__main__":
    main()
