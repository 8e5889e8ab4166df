//! Convolutions that replace, on a software adapter, those that would take minutes there.

use percept::Result;
use percept::device::gpu::dispatch::{Capabilities, Region, dispatches};
use percept::kernels::{Conv, Kernel};
use percept_shaders::Shader;

/// The largest number of multiply-adds with which an op runs whole. No larger op of these models has sums that
/// are split; the number of their parts would depend on the lines.
pub const MOST: u64 = 3_200_000_000;

/// The number of multiply-adds of a convolution with fewer terms, unless four channels of each source need
/// more.
const OF_FEWER_TERMS: u64 = 1_000_000_000;

/// A kernel that runs in place of an op.
pub struct StandIn {
    /// The part of the op that it covers; `None` for the op itself.
    pub part: Option<String>,
    /// The kernel.
    pub kernel: Kernel,
}

/// Returns the kernels that run in place of an op: the op itself if it has at most `most` multiply-adds, and
/// otherwise two convolutions that together cover it. One has fewer lines and sums all terms, the other has all
/// pixels and sums fewer terms. Both have all columns, and run the same shaders as the whole op with the same
/// constants. If that is impossible, for example because fewer lines make too few tiles to fill a device, the
/// op runs whole.
///
/// # Errors
/// Returns an error if a device of this capabilities cannot run the op.
pub fn stand_ins(kernel: &Kernel, capabilities: &Capabilities, most: u64) -> Result<Vec<StandIn>> {
    let whole = || vec![StandIn { part: None, kernel: kernel.clone() }];
    let Kernel::Conv(p) = kernel else { return Ok(whole()) };
    if kernel.parameters().multiply_adds() <= most {
        return Ok(whole());
    }
    let shaders = shaders(kernel, capabilities)?;
    let same = |conv: &Conv| {
        let kernel = Kernel::from(conv.clone());
        kernel.parameters().check("stand-in").is_ok()
            && self::shaders(&kernel, capabilities).is_ok_and(|s| s == shaders)
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

/// Returns the shaders that run an op.
fn shaders(kernel: &Kernel, capabilities: &Capabilities) -> Result<Vec<Specialized>> {
    let dispatches = dispatches(kernel, &kernel.parameters().bindings(), capabilities)?;
    let mut shaders = Vec::new();
    for shader in dispatches.into_iter().map(|dispatch| (dispatch.shader, dispatch.overrides)) {
        if !shaders.contains(&shader) {
            shaders.push(shader);
        }
    }
    Ok(shaders)
}

/// Returns the number of dispatches of an op.
///
/// # Errors
/// Returns an error if a device of this capabilities cannot run the op.
pub fn dispatch_count(kernel: &Kernel, capabilities: &Capabilities) -> Result<usize> {
    Ok(dispatches(kernel, &kernel.parameters().bindings(), capabilities)?.len())
}

/// Returns the elements of the first output at which dispatches begin.
///
/// # Errors
/// Returns an error if a device of this capabilities cannot run the op.
pub fn begins(kernel: &Kernel, capabilities: &Capabilities) -> Result<Vec<usize>> {
    let bound = dispatches(kernel, &kernel.parameters().bindings(), capabilities)?.into_iter().flat_map(|d| d.buffers);
    let first = bound.filter(|bound| bound.of == "output").filter_map(|bound| match bound.region {
        Region::Elements { first, .. } => Some(first),
        Region::Whole | Region::Part(_) => None,
    });
    Ok(first.collect())
}
