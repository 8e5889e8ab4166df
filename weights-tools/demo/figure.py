"""Draws what the demo shows: its pictures, and beside each four samples of its trunk and four of its head.

    python figure.py FOLDER --percept PROGRAM

Needs FOLDER/assets. Writes FOLDER/demo.png, which is docs/demo.png."""
from PIL import Image, ImageDraw, ImageFont

import world
from evaluate import Percept
from training import arguments, write

SAMPLES = 4
CELL, GAP, BETWEEN, LEFT, TOP = 96, 4, 24, 112, 46
PAPER, INK, LINE = "#f9f9f7", "#111111", "#bbbbbb"


def main():
    folder, options = arguments(__doc__, percept={"required": True})
    percept = Percept(options.percept, folder)
    pictures = folder / "assets/images"
    columns = [("picture", [[Image.open(path)] for path in sorted(pictures.glob("*.png"))])]
    for layer in ("trunk", "head"):
        rows = percept.sample(pictures, layer, SAMPLES, options.seed).permute(0, 1, 3, 4, 2).numpy()
        columns.append((f"{layer}: {SAMPLES} samples", [[Image.fromarray(sample) for sample in row] for row in rows]))

    width = sum(BETWEEN + len(rows[0]) * (CELL + GAP) for _, rows in columns) + LEFT
    figure = Image.new("RGB", (width, TOP + len(world.SHAPES) * (CELL + 2 * GAP) + BETWEEN), PAPER)
    draw, font, left = ImageDraw.Draw(figure), ImageFont.load_default(15), LEFT
    for title, rows in columns:
        draw.text((left, TOP - 26), title, INK, font)
        draw.line((left, TOP - 5, left + len(rows[0]) * (CELL + GAP) - GAP, TOP - 5), LINE)
        for i, row in enumerate(rows):
            for j, image in enumerate(row):
                resample = Image.LANCZOS if image.width > CELL else Image.NEAREST
                figure.paste(image.resize((CELL, CELL), resample), (left + j * (CELL + GAP), TOP + i * (CELL + 2 * GAP)))
        left += len(rows[0]) * (CELL + GAP) + BETWEEN
    for i, shape in enumerate(world.SHAPES):
        draw.text((BETWEEN, TOP + i * (CELL + 2 * GAP) + CELL / 2 - 10), shape, INK, font)
    write(folder / "demo.png", lambda path: figure.save(path, format="png"))


if __name__ == "__main__":
    main()
