//! What samples begin as, where it is not noise that is drawn.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use percept::pipeline::{FloatRows, Preprocessing, Start, image_file};
use percept::{Error, Result};

use crate::record::file_name;

#[derive(Args)]
pub struct StartArguments {
    /// Noise to begin with, in place of what the seed draws: .npy or .npz of float32 [N, H, W, 3], a row for each sample
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    noise: Option<PathBuf>,
    /// A picture that samples begin with, noised to --from-step
    #[arg(long, value_name = "IMAGE", requires = "from_step")]
    from: Option<PathBuf>,
    /// The step to begin at, counted from 0, the last one: the fewer, the more samples look like the picture of --from
    #[arg(long, value_name = "T", requires = "from")]
    from_step: Option<usize>,
}

/// What the samples of a bundle begin as.
pub enum Beginning {
    Drawn,
    Given(FloatRows),
    Noised(Start),
}

impl StartArguments {
    /// What `total` samples of so many pixels a side begin as.
    pub fn open(&self, total: usize, size: usize) -> Result<Beginning> {
        Ok(match (&self.noise, &self.from, self.from_step) {
            (Some(file), ..) => {
                let rows = FloatRows::open(file)?;
                if rows.shape() != [total, size, size, 3] {
                    let at = format!("--noise {}", file.display());
                    let expected = format!("shape [{total}, {size}, {size}, 3], as the samples have");
                    return Err(Error::shape(at, expected, format!("{:?}", rows.shape())));
                }
                Beginning::Given(rows)
            }
            (None, Some(file), Some(step)) => {
                let preprocessing = Preprocessing::new("rcdm", size as u32)?;
                let crop = preprocessing.crop(&image_file::open(file)?)?;
                Beginning::Noised(Start::Noised { image: preprocessing.to_input(&crop).into(), step })
            }
            _ => Beginning::Drawn,
        })
    }

    /// What a file says of it.
    pub fn text(&self) -> Option<String> {
        let (file, step) = self.named();
        let name = file_name(file?);
        Some(step.map_or_else(|| name.clone(), |step| format!("{name} noised to step {step}")))
    }

    /// The file that is read, and the step.
    pub fn named(&self) -> (Option<&Path>, Option<usize>) {
        (self.noise.as_deref().or(self.from.as_deref()), self.from_step)
    }
}

impl Beginning {
    /// Of some of the samples.
    pub fn of(&mut self, samples: Range<usize>) -> Result<Start> {
        Ok(match self {
            Beginning::Drawn => Start::Drawn,
            Beginning::Given(rows) => Start::Given(rows.read(samples)?.into()),
            Beginning::Noised(start) => start.clone(),
        })
    }
}
