//! Renders a labelled sheet of images, with each source image on the left and its samples to the right.

use std::convert::Infallible;

use embedded_graphics::mono_font::iso_8859_1::{FONT_9X15, FONT_9X15_BOLD};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::image_file::MAX_PIXELS;
use super::preprocessing::MAX_INPUT_SIZE;
use super::resample::{Filter, resize};
use crate::{Error, Result};

/// The minimum side of a cell in pixels. Samples of 32 pixels would be hard to see.
const MIN_CELL: u32 = 96;
const MARGIN: u32 = 24;
const CELL_GAP: u32 = 4;
const ROW_GAP: u32 = 12;
const GROUP_GAP: u32 = 28;
const LABEL_GAP: u32 = 16;
/// The maximum number of characters in a line of a row's label.
const LABEL_CHARS: usize = 24;
/// The gap between a heading, the rule under it and the first row.
const HEADING_GAP: u32 = 6;

const BACKGROUND: Rgb<u8> = Rgb([248, 248, 246]);
const RULE: Rgb<u8> = Rgb([190, 190, 186]);
const TEXT: Rgb888 = Rgb888::new(40, 40, 40);
const FONT: &MonoFont<'static> = &FONT_9X15;
const HEADING_FONT: &MonoFont<'static> = &FONT_9X15_BOLD;

/// A labelled grid of images. Each row belongs to one source image. Its cells are arranged in groups,
/// such as the source image itself, samples from one of its representations, and samples from another.
///
/// ```
/// use image::RgbImage;
/// use percept::images::grid::{Grid, Row};
///
/// let row = Row {
///     label: "tench.jpg".into(),
///     groups: vec![vec![RgbImage::new(300, 200)], vec![RgbImage::new(32, 32); 4]],
/// };
/// let headings = vec!["picture".into(), "trunk: 4 samples".into()];
/// let sheet = Grid { sample_size: 32, headings, rows: vec![row] }.render()?;
/// # Ok::<(), percept::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Grid {
    /// The longer side of a sample, in pixels. Images of this size are enlarged by an integer factor,
    /// without interpolation, to cells of at least 96 pixels a side. All others are scaled to fit a cell.
    pub sample_size: u32,
    /// The headings of the groups, from left to right.
    pub headings: Vec<String>,
    /// The rows, from top to bottom.
    pub rows: Vec<Row>,
}

/// A row of a [`Grid`].
#[derive(Clone, Debug)]
pub struct Row {
    /// The text to the left of the row. If all labels are empty, no space is reserved for them.
    /// Characters that the font lacks (it has Latin-1) appear as question marks.
    pub label: String,
    /// The images of each group, with one group per heading. If the same group of another row has
    /// more images, the remaining cells stay empty.
    pub groups: Vec<Vec<RgbImage>>,
}

/// The positions and sizes of everything, in pixels.
struct Layout {
    cell: u32,
    /// The left edge and the width of each group.
    groups: Vec<(u32, u32)>,
    /// The lines of each row's label.
    labels: Vec<Vec<String>>,
    first_row: u32,
    width: u32,
    height: u32,
}

impl Grid {
    /// Renders the grid as one image.
    ///
    /// # Errors
    /// Returns [`Error::Config`] if there is no row or no heading, the sample size is not 1 to
    /// [`MAX_INPUT_SIZE`], or the result would have more than [`MAX_PIXELS`] pixels; [`Error::Shape`]
    /// if the number of groups in a row differs from the number of headings; and [`Error::Image`] if
    /// an image has no pixels.
    pub fn render(&self) -> Result<RgbImage> {
        let layout = self.layout()?;
        let mut canvas = Canvas(RgbImage::from_pixel(layout.width, layout.height, BACKGROUND));
        for (heading, &(left, width)) in self.headings.iter().zip(&layout.groups) {
            let rule = MARGIN + text_height(HEADING_FONT) + HEADING_GAP;
            canvas.text(heading, left, MARGIN, HEADING_FONT);
            (left..left + width).for_each(|x| canvas.0.put_pixel(x, rule, RULE));
        }
        let mut top = layout.first_row;
        for (row, label) in self.rows.iter().zip(&layout.labels) {
            let line_height = text_height(FONT);
            // Centres the label vertically.
            let mut line_top = top + (layout.cell - label.len() as u32 * line_height) / 2;
            for line in label {
                canvas.text(line, MARGIN, line_top, FONT);
                line_top += line_height;
            }
            for (pictures, &(group_left, _)) in row.groups.iter().zip(&layout.groups) {
                let mut left = group_left;
                for picture in pictures {
                    canvas.picture(&self.fit(picture, layout.cell), left, top, layout.cell);
                    left += layout.cell + CELL_GAP;
                }
            }
            top += layout.cell + ROW_GAP;
        }
        Ok(canvas.0)
    }

    /// Checks the grid and computes its layout.
    fn layout(&self) -> Result<Layout> {
        if self.rows.is_empty() || self.headings.is_empty() {
            let got = format!("{} rows, {} headings", self.rows.len(), self.headings.len());
            return Err(Error::config("picture grid", "at least one row and one heading", got));
        }
        if !(1..=MAX_INPUT_SIZE).contains(&self.sample_size) {
            let expected = format!("1 to {MAX_INPUT_SIZE} pixels");
            return Err(Error::config("picture grid: sample size", expected, self.sample_size));
        }
        for (index, row) in self.rows.iter().enumerate() {
            let at = format!("picture grid: row {index}");
            if row.groups.len() != self.headings.len() {
                let expected = format!("{} groups, one for each heading", self.headings.len());
                return Err(Error::shape(at, expected, row.groups.len()));
            }
            if let Some(empty) = row.groups.iter().flatten().find(|picture| picture.is_empty()) {
                let got = format!("{} x {}", empty.width(), empty.height());
                return Err(Error::image(at, "pictures of at least 1 x 1 pixels", got));
            }
        }

        let cell = self.sample_size * MIN_CELL.div_ceil(self.sample_size);
        let lines = (cell / text_height(FONT)) as usize;
        let labels: Vec<_> = self.rows.iter().map(|row| wrap(&row.label, LABEL_CHARS, lines)).collect();
        let label_width = labels.iter().flatten().map(|line| text_width(line, FONT)).max();
        // Sums are u64 until the total is known to be within the limit.
        let mut left = u64::from(MARGIN);
        left += label_width.filter(|&width| width > 0).map_or(0, |width| width + u64::from(LABEL_GAP));
        let pitch = u64::from(cell + CELL_GAP);
        let mut groups = Vec::new();
        for (index, heading) in self.headings.iter().enumerate() {
            let columns = self.rows.iter().map(|row| row.groups[index].len() as u64).max();
            let cells = (columns.unwrap_or(0) * pitch).saturating_sub(u64::from(CELL_GAP));
            let width = cells.max(text_width(heading, HEADING_FONT));
            groups.push((left, width));
            left += width + u64::from(GROUP_GAP);
        }
        let width = left - u64::from(GROUP_GAP) + u64::from(MARGIN);
        let first_row = MARGIN + text_height(HEADING_FONT) + 2 * HEADING_GAP + 2;
        let rows = self.rows.len() as u64 * u64::from(cell + ROW_GAP) - u64::from(ROW_GAP);
        let height = u64::from(first_row) + rows + u64::from(MARGIN);
        if width.saturating_mul(height) > MAX_PIXELS {
            let expected = format!("at most {MAX_PIXELS} pixels: fewer pictures");
            return Err(Error::config("picture grid", expected, format!("{width} x {height}")));
        }
        Ok(Layout {
            cell,
            groups: groups.into_iter().map(|(left, width)| (left as u32, width as u32)).collect(),
            labels,
            first_row,
            width: width as u32,
            height: height as u32,
        })
    }

    /// Scales an image to the size it has in its cell.
    fn fit(&self, picture: &RgbImage, cell: u32) -> RgbImage {
        let (width, height) = picture.dimensions();
        let longer = width.max(height);
        if longer == self.sample_size {
            let factor = cell / longer;
            imageops::resize(picture, width * factor, height * factor, FilterType::Nearest)
        } else {
            let scale = f64::from(cell) / f64::from(longer);
            let side = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, cell);
            resize(picture, (side(width), side(height)), Filter::Bicubic)
        }
    }
}

/// Breaks a label into lines, after a space or punctuation if possible. If the label does not fit, the
/// last line ends with dots.
fn wrap(label: &str, max_chars: usize, max_lines: usize) -> Vec<String> {
    let mut rest: Vec<char> = label.trim().chars().collect();
    let mut lines = Vec::new();
    while !rest.is_empty() && lines.len() < max_lines {
        let mut length = rest.len().min(max_chars);
        let is_last = lines.len() + 1 == max_lines;
        if rest.len() > max_chars && !is_last {
            let breaks = |c: &char| " _-./\\".contains(*c);
            length = rest[..length].iter().rposition(breaks).map_or(length, |at| at + 1);
        }
        let mut line: String = rest.drain(..length).collect();
        if is_last && !rest.is_empty() {
            line = line.chars().take(max_chars.saturating_sub(3)).chain("...".chars()).collect();
        }
        // A control character such as a line feed would move the rest of the text.
        lines.push(line.trim().replace(char::is_control, " "));
    }
    lines
}

fn text_width(text: &str, font: &MonoFont<'_>) -> u64 {
    text.chars().count() as u64 * u64::from(font.character_size.width + font.character_spacing)
}

fn text_height(font: &MonoFont<'_>) -> u32 {
    font.character_size.height
}

struct Canvas(RgbImage);

impl Canvas {
    fn text(&mut self, text: &str, left: u32, top: u32, font: &MonoFont<'_>) {
        let style = MonoTextStyle::new(font, TEXT);
        let text = text.replace(char::is_control, " ");
        let at = Point::new(left as i32, top as i32);
        let Ok(_) = Text::with_baseline(&text, at, style, Baseline::Top).draw(self);
    }

    /// Draws an image in the middle of the cell whose top left corner is given.
    fn picture(&mut self, picture: &RgbImage, left: u32, top: u32, cell: u32) {
        let x = left + (cell - picture.width()) / 2;
        let y = top + (cell - picture.height()) / 2;
        imageops::replace(&mut self.0, picture, x.into(), y.into());
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> std::result::Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
                *pixel = Rgb([color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}
