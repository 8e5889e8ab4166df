//! Samples four images of what an encoder knows about a picture.

use std::path::Path;

use percept::pipeline::{Bundle, Device, SampleOptions, image_file, output};

fn main() -> percept::Result<()> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let device = Device::named("auto")?;
    let mut bundle = Bundle::open(&assets.join("trunk.bundle.json"), &device)?;

    let picture = image_file::open(assets.join("images/4_star.png"))?;
    let representation = bundle.encoder.encode(&picture)?;
    let options = SampleOptions { samples: 4, seed: 1, ..SampleOptions::default() };
    for (index, sample) in bundle.rcdm.sample(&representation, &options)?.iter().enumerate() {
        output::write_png(format!("sample_{index}.png"), sample, &[])?;
    }
    Ok(())
}
