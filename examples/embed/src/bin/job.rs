//! Advances a job in slices, with a progress bar, as a program does that has other work between slices.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use percept::images;
use percept::{Bundle, Device, SampleOptions, Status};

fn main() -> percept::Result<()> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let mut bundle = Bundle::open(assets.join("trunk.bundle.json"), &Device::named("auto")?)?;
    let h = bundle.encoder.encode(&images::open(assets.join("images/4_star.png"))?)?;

    let mut job = bundle.rcdm.start(&[&h], &SampleOptions { samples: 4, ..SampleOptions::default() })?;
    // In a real program, another thread holds the token, for example to handle a button or a signal.
    let token = job.token();
    let bar = ProgressBar::new(job.progress().total as u64);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} step {pos} of {len} {msg}").unwrap_or(ProgressStyle::default_bar()),
    );
    loop {
        let progress = job.advance(Duration::from_millis(8))?;
        bar.set_position(progress.done as u64);
        if let Some(left) = progress.left {
            bar.set_message(format!("{:.0} s left", left.as_secs_f64()));
        }
        if progress.status != Status::Running {
            break;
        }
        if std::env::args().any(|argument| argument == "--cancel-half-way") && 2 * progress.done > progress.total {
            token.cancel();
        }
    }
    bar.finish();
    for (index, sample) in job.finish()?.concat().iter().enumerate() {
        images::write_png(format!("sample_{index}.png"), sample, &[])?;
    }
    Ok(())
}
