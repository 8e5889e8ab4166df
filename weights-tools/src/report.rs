//! Describes a conversion for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use percept::{Error, Result};

use crate::convert::{Conversion, Converted};
use crate::text::{bytes, printable};

/// The maximum number of entries in a list.
const LISTED: usize = 20;

/// Describes a model of a checkpoint, and how well its tensors fit its configuration.
pub fn planned(conversion: &Conversion) -> String {
    let Conversion { model, config, matched, dropped, folded, faults, .. } = conversion;
    let place = if model.place.is_empty() { String::new() } else { format!(", from {}", printable(&model.place)) };
    let part = format!("{:?}", model.part).to_lowercase();
    let mut text = format!("{part}: a {}{place}\n  {}\n", model.kind.name(), config.json);
    let (missing, misshaped, unexpected) = faults
        .as_ref()
        .map_or((0, 0, 0), |report| (report.missing.len(), report.misshaped.len(), report.unexpected.len()));
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "  {} tensors matched, {missing} missing, {misshaped} of another shape, {unexpected} unexpected, {} dropped",
        matched.len(),
        dropped.len()
    );
    for note in &config.notes {
        let _ = writeln!(text, "  {note}");
    }
    if !dropped.is_empty() {
        let _ = writeln!(text, "  dropped, for inference does not use them: {}", counted(dropped, |name| leaf(name)));
    }
    if !folded.is_empty() {
        let _ = writeln!(text, "  put together from several tensors: {}", listed(folded));
    }
    if let Some(report) = faults {
        for (name, near) in &report.missing {
            let near = near.as_ref().map_or(String::new(), |near| format!(" (there is {})", printable(near)));
            let _ = writeln!(text, "  missing {}{near}", printable(name));
        }
        for wrong in &report.misshaped {
            let _ = writeln!(text, "  {}: expected {}, got {}", printable(&wrong.at), wrong.expected, wrong.got);
        }
        for name in &report.unexpected {
            let _ = writeln!(text, "  unexpected {}", printable(name));
        }
    }
    text
}

/// Lists the tensors of a checkpoint that no model uses.
pub fn unused(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("unused: {}\n", counted(names, |name| name.split('.').next().unwrap_or(name))),
    }
}

/// Summarises the converted tensors of a model, and lists each of them if `each` is true.
pub fn converted(converted: &[Converted], each: bool) -> String {
    let mut text = String::new();
    let mut of_type: BTreeMap<&str, usize> = BTreeMap::new();
    for one in converted {
        *of_type.entry(one.float.name()).or_default() += 1;
        if each {
            let rounding = &one.rounding;
            let _ = writeln!(
                text,
                "  {} {}: largest {:.3e}, largest error {:.1e}, {} overflows",
                printable(&one.name),
                one.float.name(),
                rounding.largest,
                rounding.largest_error,
                rounding.overflows
            );
        }
    }
    let types: Vec<String> = of_type.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
    let worst = converted.iter().max_by(|a, b| a.rounding.largest_error.total_cmp(&b.rounding.largest_error));
    let error = match worst {
        Some(worst) if worst.rounding.largest_error > 0.0 => {
            format!("largest rounding error {:.1e} in {}", worst.rounding.largest_error, printable(&worst.name))
        }
        _ => "no element changed".to_string(),
    };
    let _ = writeln!(text, "  {}; {error}", types.join(", "));
    text
}

/// Checks that every tensor was finite and still is.
///
/// # Errors
/// Returns [`Error::NotFinite`], which names all tensors that were not or are not.
pub fn refuse_not_finite(conversion: &Conversion, converted: &[Converted]) -> Result<()> {
    let faulty: Vec<String> = converted.iter().filter_map(fault).collect();
    if faulty.is_empty() {
        return Ok(());
    }
    Err(Error::not_finite(of_place(conversion), "finite weights", faulty.join("; ")))
}

/// Names a model by its kind and its location in the checkpoint.
fn of_place(conversion: &Conversion) -> String {
    let (kind, place) = (conversion.model.kind.name(), &conversion.model.place);
    if place.is_empty() { kind.to_string() } else { format!("{kind} of {}", printable(place)) }
}

/// Describes the elements of a tensor that are not finite or that overflowed. Returns `None` if there are none.
pub fn fault(one: &Converted) -> Option<String> {
    let name = printable(&one.name);
    match (one.rounding.not_finite, one.rounding.overflows) {
        (0, 0) => None,
        (0, over) => Some(format!(
            "{name}: {over} elements too large for {}, up to {:.3e}",
            one.float.name(),
            one.rounding.largest
        )),
        (count, _) => Some(format!("{name}: {count} elements that are NaN or infinite")),
    }
}

/// Describes a model file that was written or, in a dry run, would be.
pub fn written(conversion: &Conversion, path: &std::path::Path, is_dry: bool) -> String {
    let verb = if is_dry { "would be written to" } else { "written to" };
    format!("  {verb} {}, {}\n", path.display(), bytes(conversion.byte_len() as usize))
}

/// Returns the last part of a name.
fn leaf(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Counts names by a common part: `53 num_batches_tracked`. Lists the names themselves if there are at most three.
fn counted<'a>(names: &'a [String], common: impl Fn(&'a str) -> &'a str) -> String {
    if names.len() <= 3 {
        return listed(names);
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.iter().for_each(|name| *counts.entry(common(name)).or_default() += 1);
    let more = if counts.len() > LISTED { format!(" and {} others", counts.len() - LISTED) } else { String::new() };
    let counts = counts.iter().take(LISTED).map(|(name, count)| format!("{count} {}", printable(name)));
    counts.collect::<Vec<_>>().join(", ") + &more
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| printable(name)).collect();
    let more = if names.len() > LISTED { format!(" and {} others", names.len() - LISTED) } else { String::new() };
    shown.join(", ") + &more
}
