//! `percept devices`

use std::process::ExitCode;

use clap::Args;
use percept::Device;
use percept::Result;
use percept::device::Available;
use serde_json::json;

use crate::DeviceArguments;
use crate::terminal::print;

#[derive(Args)]
pub struct Arguments {
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Lists the devices and marks the one that other commands compute on. Prints the list even if the requested device
/// does not exist.
pub fn run(arguments: &Arguments, on: &DeviceArguments) -> Result<ExitCode> {
    let devices = Device::all()?;
    let auto = Device::named("auto")?.name();
    let opened = on.open(None);
    let taken = opened.as_ref().ok().map(Device::name);
    if arguments.json {
        let object = |device: &Available| json!({"name": device.name, "description": device.description});
        let devices: Vec<_> = devices.iter().map(object).collect();
        print(json!({"auto": auto, "taken": taken, "devices": devices}))?;
    } else {
        for device in &devices {
            let is_taken = taken.as_ref() == Some(&device.name);
            let note = if is_taken { format!(" (taken by {})", on.device) } else { String::new() };
            print(format_args!("{:<12} {}{note}", device.name, device.description))?;
        }
    }
    opened.map(|_| ExitCode::SUCCESS)
}
