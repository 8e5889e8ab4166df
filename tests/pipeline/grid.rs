//! Tests the picture grid: sizes, the pixels of its cells, and grids that cannot be drawn.

use image::{Rgb, RgbImage};
use percept::Error;
use percept::images::grid::{Grid, Row};

const BACKGROUND: Rgb<u8> = Rgb([248, 248, 246]);

fn flat(width: u32, height: u32, color: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb(color))
}

/// Returns two rows: a picture of 300 x 200 and samples of 32 x 32, two in the first row, one in the second.
fn grid() -> Grid {
    let row = |label: &str, samples: usize| Row {
        label: label.to_owned(),
        groups: vec![vec![flat(300, 200, [200, 0, 0])], vec![flat(32, 32, [0, 0, 200]); samples]],
    };
    Grid { sample_size: 32, headings: vec!["in".to_owned(), "out".to_owned()], rows: vec![row("", 2), row("", 1)] }
}

/// Returns the smallest rectangle with every pixel of this colour: left, top, width, height.
fn bounds(image: &RgbImage, color: [u8; 3]) -> (u32, u32, u32, u32) {
    let found = || image.enumerate_pixels().filter(move |(_, _, pixel)| pixel.0 == color);
    let range = |values: Vec<u32>| {
        let least = *values.iter().min().expect("a pixel of this colour");
        (least, values.iter().max().expect("a pixel of this colour") - least + 1)
    };
    let (left, width) = range(found().map(|(x, ..)| x).collect());
    let (top, height) = range(found().map(|(_, y, _)| y).collect());
    (left, top, width, height)
}

#[test]
fn cells_stand_where_they_belong() {
    let image = grid().render().expect("a picture");
    let (left, top, width, height) = bounds(&image, [200, 0, 0]);
    // Fitted to 96 x 64 pixels in the middle of the cell, twice, at a pitch of 96 + 12.
    assert_eq!((left, width, height), (24, 96, 64 + 108));
    let (sample_left, sample_top, samples_width, samples_height) = bounds(&image, [0, 0, 200]);
    assert_eq!((sample_left, samples_width, samples_height), (24 + 96 + 28, 2 * 96 + 4, 96 + 108));
    assert_eq!(top, sample_top + 16);
    assert_eq!(image.dimensions(), (sample_left + samples_width + 24, sample_top + samples_height + 24));
    // The second row's second sample is missing.
    assert_eq!(*image.get_pixel(sample_left + 150, sample_top + 108 + 48), BACKGROUND);
    assert_eq!(*image.get_pixel(sample_left + 150, sample_top + 48), Rgb([0, 0, 200]));
}

#[test]
fn samples_are_enlarged_pixel_by_pixel() {
    let mut grid = grid();
    let sample = RgbImage::from_fn(32, 32, |x, y| Rgb([(x * 83) as u8, (y * 151) as u8, 201]));
    grid.rows[0].groups[1][1] = sample.clone();
    let image = grid.render().expect("a picture");
    let (left, top, ..) = bounds(&image, [0, 0, 200]);
    for (x, y) in [(0, 0), (2, 2), (3, 3), (95, 95), (50, 10)] {
        assert_eq!(image.get_pixel(left + 100 + x, top + y), sample.get_pixel(x / 3, y / 3));
    }
}

/// Only pictures of the sample size are enlarged pixel by pixel.
#[test]
fn pictures_of_other_sizes_are_resampled() {
    for size in [16, 31, 32, 33, 64] {
        let mut grid = grid();
        grid.rows[0].groups[0][0] =
            RgbImage::from_fn(size, size, |x, _| Rgb([if x < size / 2 { 0 } else { 255 }, 0, 7]));
        let image = grid.render().expect("a picture");
        let between = image.pixels().filter(|pixel| pixel.0[1..] == [0, 7] && ![0, 255].contains(&pixel.0[0])).count();
        assert_eq!(between > 0, size != 32, "{size}: {between} pixels between black and red");
    }
}

#[test]
fn cells_are_a_whole_multiple_of_the_sample() {
    for (sample_size, cell) in [(1, 96), (32, 96), (64, 128), (95, 190), (96, 96), (128, 128)] {
        let mut grid = grid();
        grid.sample_size = sample_size;
        grid.rows[1].groups[1] = vec![flat(sample_size, sample_size, [0, 99, 0])];
        let (_, _, width, height) = bounds(&grid.render().expect("a picture"), [0, 99, 0]);
        assert_eq!((width, height), (cell, cell), "{sample_size}");
    }
}

#[test]
fn labels_and_headings_are_drawn_and_make_room() {
    let plain = grid().render().expect("a picture");
    let (plain_left, top, ..) = bounds(&plain, [200, 0, 0]);
    let mut labelled = grid();
    labelled.rows[0].label = "twelve chars".to_owned();
    let image = labelled.render().expect("a picture");
    let (left, ..) = bounds(&image, [200, 0, 0]);
    assert_eq!(left, plain_left + 12 * 9 + 16);
    let dark = |top: u32, bottom: u32, left: u32, right: u32| {
        let pixels = (top..bottom).flat_map(|y| (left..right).map(move |x| (x, y)));
        pixels.filter(|&(x, y)| image.get_pixel(x, y).0 == [40; 3]).count()
    };
    assert!(dark(top, top + 64, 24, left) > 100);
    assert_eq!(dark(top + 108, top + 108 + 64, 24, left), 0);
    assert!(dark(24, 40, left, image.width()) > 50);

    // Labels of any length, in any script, stay in their column and row.
    labelled.rows[0].label = "a name\nwithout λ or_end ".repeat(50);
    let image = labelled.render().expect("a picture");
    assert_eq!(bounds(&image, [200, 0, 0]).0, plain_left + 24 * 9 + 16);
    assert_eq!(image.height(), plain.height());
    // A long heading widens its group instead of running into the next.
    labelled.headings[0] = "a heading over one cell".to_owned();
    let wider = labelled.render().expect("a picture");
    assert_eq!(wider.width(), image.width() + 23 * 9 - 96);
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let rendered = |change: fn(&mut Grid)| {
        let mut grid = grid();
        change(&mut grid);
        grid.render()
    };
    assert!(matches!(rendered(|g| g.rows.clear()), Err(Error::Config(_))));
    assert!(matches!(rendered(|g| g.headings.clear()), Err(Error::Config(_))));
    assert!(matches!(rendered(|g| g.sample_size = 0), Err(Error::Config(_))));
    assert!(matches!(rendered(|g| g.sample_size = 2049), Err(Error::Config(_))));
    assert!(matches!(rendered(|g| g.rows[1].groups.truncate(1)), Err(Error::Shape(_))));
    assert!(matches!(rendered(|g| g.rows[1].groups[0][0] = RgbImage::new(0, 3)), Err(Error::Image(_))));
    let too_large = rendered(|g| {
        g.sample_size = 2048;
        g.rows[0].groups[1] = vec![flat(1, 1, [0; 3]); 20];
    });
    match too_large {
        Err(Error::Config(mismatch)) => assert!(mismatch.expected.contains("67108864"), "{mismatch}"),
        other => panic!("{other:?}"),
    }
}
