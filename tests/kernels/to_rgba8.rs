//! Tests `to_rgba8`: the twin against the definition in f64, against the bytes of written pictures, and by
//! hand.

use percept::images::preprocessing::to_image;
use percept::kernels::{Parameters, ToRgba8};
use percept_tests::Case;

fn new([batch, height, width]: [usize; 3]) -> ToRgba8 {
    ToRgba8 { batch, height, width }
}

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::with(cases(), inputs)
}

/// Returns cases with one pixel, and with lines slightly shorter and longer than those that need no padding.
pub fn cases() -> Vec<ToRgba8> {
    let sizes = [[1, 1, 1], [2, 3, 5], [1, 2, 63], [2, 2, 64], [1, 3, 65], [1, 5, 64], [3, 32, 32], [1, 5, 129]];
    sizes.map(new).into()
}

/// Creates inputs that also exceed both ends of the range, and that lie on the borders between bytes.
pub fn inputs(p: ToRgba8, seed: u64) -> Case {
    let mut case = Case::random(p, seed);
    let mut source: Vec<f32> = case.floats("source").iter().map(|v| 1.25 * v).collect();
    let steps = (0..=255u8).map(|byte| f32::from(byte) / 127.5 - 1.0);
    let special = [-1.0, 1.0, 0.0, -0.0, f32::MAX, f32::MIN, 1e-40].into_iter();
    for (value, edge) in source.iter_mut().skip(3).step_by(2).zip(special.chain(steps)) {
        *value = edge;
    }
    case.set("source", &source);
    case
}

#[test]
fn the_twin_makes_the_bytes_of_pictures() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("x").expect("a case that can be made");
        let case = inputs(p.clone(), seed as u64);
        let words = case.run(percept::reference::run).swap_remove(0);
        let pictures = case.floats("source").chunks(3 * p.width * p.height);
        for (picture, words) in pictures.zip(words.chunks(p.pitch() * p.height)) {
            let image = to_image(picture, p.width as u32, p.height as u32).expect("a picture");
            for (x, y, pixel) in image.enumerate_pixels() {
                let [red, green, blue] = pixel.0;
                let word = words[y as usize * p.pitch() + x as usize];
                assert_eq!(word.to_le_bytes(), [red, green, blue, 255], "{p:?} at {x}, {y}");
            }
            for line in words.chunks(p.pitch()) {
                assert!(line[p.width..].iter().all(|&word| word == 0), "{p:?}");
            }
        }
    }
}

#[test]
fn the_twin_keeps_to_the_definition() {
    for (seed, p) in cases().into_iter().enumerate() {
        let case = inputs(p.clone(), seed as u64);
        let words = case.run(percept::reference::run).swap_remove(0);
        let lines = case.floats("source").chunks(3 * p.width);
        for (line, words) in lines.zip(words.chunks(p.pitch())) {
            for (pixel, word) in line.chunks(3).zip(words) {
                for (value, byte) in pixel.iter().zip(word.to_le_bytes()) {
                    let exact = ((f64::from(*value) + 1.0) * 127.5).clamp(0.0, 255.0);
                    // The two roundings to f32 are off by less than 256 * 2^-23; near an edge, either byte is
                    // right.
                    let above = exact - f64::from(byte);
                    assert!((-3.1e-5..1.0 + 3.1e-5).contains(&above), "{value}: {byte}, and exactly {exact}");
                }
                assert_eq!(word.to_le_bytes()[3], 255);
            }
        }
    }
}

#[test]
fn by_hand() {
    let mut case = Case::random(new([1, 1, 2]), 0);
    case.set("source", &[-1.0, 0.0, 1.0, -3.0, 3.0, 0.5]);
    let words = case.run(percept::reference::run).swap_remove(0);
    assert_eq!(words[..3], [0xff_ff_7f_00, 0xff_bf_ff_00, 0]);
}

#[test]
fn what_holds_nothing_is_refused() {
    let good = new([1, 2, 3]);
    assert_eq!(good.check("x"), Ok(()));
    for bad in [[0, 2, 3], [1, 0, 3], [1, 2, 0]] {
        crate::refused(new(bad).check("x"), "x");
    }
}
