//! The start of samples that do not begin as noise drawn from the seed.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use percept::encoding::FloatRows;
use percept::images;
use percept::{Error, Result};
use percept::{Preprocessing, Start};

use crate::record::file_name;

#[derive(Args)]
pub struct StartArguments {
    /// Noise to start from, instead of drawing it from the seed: .npy or .npz of float32 [N, H, W, 3], a row per sample
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    noise: Option<PathBuf>,
    /// Picture to start from, noised to --from-step
    #[arg(long, value_name = "IMAGE", requires = "from_step")]
    from: Option<PathBuf>,
    /// Step to start at; step 0 is the last, and the lower the step, the more the samples look like the --from picture
    #[arg(long, value_name = "T", requires = "from")]
    from_step: Option<usize>,
}

/// The start of a bundle's samples.
pub enum Beginning {
    Drawn,
    Given(FloatRows),
    Noised(Start),
}

impl StartArguments {
    /// Reads the start of `total` samples of `size` x `size` pixels.
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
                let crop = preprocessing.crop(&images::open(file)?)?;
                Beginning::Noised(Start::Noised { image: preprocessing.to_input(&crop).into(), step })
            }
            _ => Beginning::Drawn,
        })
    }

    /// Describes the start for the output file, or returns `None` if it is drawn from the seed.
    pub fn text(&self) -> Option<String> {
        let (file, step) = self.named();
        let name = file_name(file?);
        Some(step.map_or_else(|| name.clone(), |step| format!("{name} noised to step {step}")))
    }

    /// Returns the file that is read, and the step.
    pub fn named(&self) -> (Option<&Path>, Option<usize>) {
        (self.noise.as_deref().or(self.from.as_deref()), self.from_step)
    }
}

impl Beginning {
    /// Returns the start of some of the samples.
    pub fn of(&mut self, samples: Range<usize>) -> Result<Start> {
        Ok(match self {
            Beginning::Drawn => Start::Drawn,
            Beginning::Given(rows) => Start::Given(rows.read(samples)?.into()),
            Beginning::Noised(start) => start.clone(),
        })
    }
}
