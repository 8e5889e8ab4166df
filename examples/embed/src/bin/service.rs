//! A service without a window: reads lines `PICTURE SEED OUTPUT.png` from its input, answers each with a line, and
//! continues after errors.

use std::io::BufRead;
use std::path::Path;

use percept::images;
use percept::{Bundle, Device, SampleOptions};
use percept::{Error, Result};

fn main() -> Result<()> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let device = Device::named("auto")?;
    let mut bundle = Bundle::open(assets.join("trunk.bundle.json"), &device)?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Error::file("standard input", "lines of text", error))?;
        match answer(&mut bundle, &line) {
            Ok(file) => println!("ok {file}"),
            // The device and everything on it are lost. To continue, a program must open both again.
            Err(error @ Error::DeviceLost(_)) => return Err(error),
            Err(error) => println!("error {error}"),
        }
    }
    Ok(())
}

fn answer<'a>(bundle: &mut Bundle, line: &'a str) -> Result<&'a str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [picture, seed, file] = words[..] else {
        return Err(Error::config("line", "PICTURE SEED OUTPUT.png", line));
    };
    let seed = seed.parse().map_err(|_| Error::config("seed", "a number", seed))?;
    let h = bundle.encoder.encode(&images::open(picture)?)?;
    // The models and the program of this batch size stay loaded between lines.
    let images = bundle.rcdm.sample(&h, &SampleOptions { samples: 1, seed, ..SampleOptions::default() })?;
    images::write_png(file, &images[0], &[("seed", &seed.to_string())])?;
    Ok(file)
}
