//! percept in a window: choose a picture and see what its representation retains, while the window stays smooth.
//!
//! Run it with `cargo run --release -p percept-desktop [-- --report]`. With `--report`, the window is redrawn
//! continuously, and its frame times are printed when it is closed. percept runs on the window's own GPU. If that is a
//! software adapter, percept runs on the CPU instead, unless PERCEPT_DEVICE=window.

mod app;
mod canvas;
mod demo;
mod dialog;
mod frames;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;

use eframe::egui;
use eframe::egui_wgpu::{WgpuConfiguration, WgpuSetup, WgpuSetupCreateNew};
use percept::device::gpu::{required_features, required_limits};
use percept::wgpu;

/// Returns the setup of a device for the window, with the features and limits that percept can use.
fn setup() -> WgpuSetup {
    WgpuSetup::CreateNew(WgpuSetupCreateNew {
        device_descriptor: Arc::new(|adapter| wgpu::DeviceDescriptor {
            label: Some("window and percept"),
            required_features: required_features(adapter),
            required_limits: wgpu::Limits { max_texture_dimension_2d: 8192, ..required_limits(adapter) },
            ..wgpu::DeviceDescriptor::default()
        }),
        ..WgpuSetupCreateNew::without_display_handle()
    })
}

fn main() -> eframe::Result {
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default().with_title("percept").with_inner_size([960.0, 640.0]),
        wgpu_options: WgpuConfiguration { wgpu_setup: setup(), ..WgpuConfiguration::default() },
        ..eframe::NativeOptions::default()
    };
    let is_reporting = std::env::args().any(|argument| argument == "--report");
    eframe::run_native(
        "percept",
        options,
        Box::new(move |creation| {
            let render = creation.wgpu_render_state.clone().ok_or("the window is not drawn by wgpu")?;
            Ok(Box::new(app::App::new(&creation.egui_ctx, render, is_reporting)?))
        }),
    )
}
