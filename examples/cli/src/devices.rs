//! `percept devices`

use std::process::ExitCode;

use clap::Args;
use percept::Result;
use percept::pipeline::{Available, Device};
use serde_json::json;

use crate::terminal::print;

#[derive(Args)]
pub struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Lists the devices.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let devices = Device::all()?;
    let auto = Device::named("auto")?.name();
    if arguments.json {
        let object = |device: &Available| json!({"name": device.name, "description": device.description});
        let devices: Vec<_> = devices.iter().map(object).collect();
        print(json!({"auto": auto, "devices": devices}))?;
    } else {
        for device in &devices {
            let note = if device.name == auto { " (taken by auto)" } else { "" };
            print(format_args!("{:<12} {}{note}", device.name, device.description))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
