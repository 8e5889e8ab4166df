//! Samples four images from an encoder's representation of a picture.

use std::path::Path;

use percept::images;
use percept::{Bundle, Device, SampleOptions};

fn main() -> percept::Result<()> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let device = Device::named("auto")?;
    let mut bundle = Bundle::open(assets.join("trunk.bundle.json"), &device)?;

    let picture = images::open(assets.join("images/4_star.png"))?;
    let representation = bundle.encoder.encode(&picture)?;
    let options = SampleOptions { samples: 4, seed: 1, ..SampleOptions::default() };
    for (index, sample) in bundle.rcdm.sample(&representation, &options)?.iter().enumerate() {
        images::write_png(format!("sample_{index}.png"), sample, &[])?;
    }
    Ok(())
}
