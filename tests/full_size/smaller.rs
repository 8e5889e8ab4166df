//! Convolutions that stand in, on a software adapter, for those that would take minutes there.

use percept::Result;
use percept::gpu::dispatch::{Profile, Region, dispatches};
use percept::kernels::{Conv, Kernel};
use percept_shaders::Shader;

/// Multiply-adds up to which an op is run whole. No larger op of these models is one whose sums are split: into how many parts
/// would depend on the lines.
pub const MOST: u64 = 3_200_000_000;

/// Multiply-adds of a convolution of fewer terms, where four channels of each source are not more.
const OF_FEWER_TERMS: u64 = 1_000_000_000;

/// A kernel that runs in place of an op.
pub struct StandIn {
    /// The part of the op that it covers; `None` for the op itself.
    pub part: Option<String>,
    /// The kernel.
    pub kernel: Kernel,
}

/// What of an op is run: all of it where it has at most `most` multiply-adds, or else two convolutions that together go
/// where it goes. One has fewer lines and sums all terms, the other has all pixels and sums fewer terms. Both have all
/// columns, and run the same shaders as the whole op with the same constants; where fewer lines would not, as they would
/// have too few tiles to fill a device, the op is run whole.
///
/// # Errors
/// If a device of this profile does not run the op.
pub fn stand_ins(kernel: &Kernel, profile: &Profile, most: u64) -> Result<Vec<StandIn>> {
    let whole = || vec![StandIn { part: None, kernel: kernel.clone() }];
    let Kernel::Conv(p) = kernel else { return Ok(whole()) };
    if kernel.parameters().multiply_adds() <= most {
        return Ok(whole());
    }
    let shaders = shaders(kernel, profile)?;
    let same = |conv: &Conv| {
        let kernel = Kernel::from(conv.clone());
        kernel.parameters().check("stand-in").is_ok() && self::shaders(&kernel, profile).is_ok_and(|s| s == shaders)
    };
    let mut by_lines = (2..p.height).step_by(2).map(|height| Conv { height, ..p.clone() });
    let Some(fewer_lines) = by_lines.find(same) else { return Ok(whole()) };
    let part = Some(format!("{} of {} lines", fewer_lines.height, p.height));
    let mut parts = vec![StandIn { part, kernel: fewer_lines.into() }];

    let per_channel = kernel.parameters().multiply_adds() / p.channels() as u64;
    let sources = if p.in_channels[1] > 0 { 2 } else { 1 };
    let channels = (OF_FEWER_TERMS / per_channel / sources / 4 * 4).max(4) as usize;
    let in_channels = p.in_channels.map(|all| all.min(channels));
    let fewer_terms = Conv { in_channels, ..p.clone() };
    if in_channels == p.in_channels || !same(&fewer_terms) {
        return Ok(whole());
    }
    let part = Some(format!("{} of {} channels", fewer_terms.channels(), p.channels()));
    parts.push(StandIn { part, kernel: fewer_terms.into() });
    Ok(parts)
}

/// A shader, and the constants that it is specialized with.
type Specialized = (Shader, Vec<(&'static str, f64)>);

/// The shaders that an op is run with.
fn shaders(kernel: &Kernel, profile: &Profile) -> Result<Vec<Specialized>> {
    let dispatches = dispatches(kernel, &kernel.parameters().bindings(), profile)?;
    let mut shaders = Vec::new();
    for shader in dispatches.into_iter().map(|dispatch| (dispatch.shader, dispatch.overrides)) {
        if !shaders.contains(&shader) {
            shaders.push(shader);
        }
    }
    Ok(shaders)
}

/// The number of dispatches of an op.
///
/// # Errors
/// If a device of this profile does not run the op.
pub fn dispatch_count(kernel: &Kernel, profile: &Profile) -> Result<usize> {
    Ok(dispatches(kernel, &kernel.parameters().bindings(), profile)?.len())
}

/// The elements of the first output at which dispatches begin.
///
/// # Errors
/// If a device of this profile does not run the op.
pub fn begins(kernel: &Kernel, profile: &Profile) -> Result<Vec<usize>> {
    let bound = dispatches(kernel, &kernel.parameters().bindings(), profile)?.into_iter().flat_map(|d| d.buffers);
    let first = bound.filter(|bound| bound.of == "output").filter_map(|bound| match bound.region {
        Region::Elements { first, .. } => Some(first),
        Region::Whole | Region::Part(_) => None,
    });
    Ok(first.collect())
}
