//! Tests that drive the window with user input and draw it on an available adapter.
//!
//! If there is no adapter, the tests print a message and pass without testing anything; with `PERCEPT_REQUIRE_GPU=1`
//! they fail.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eframe::egui::accesskit::Role;
use eframe::egui::{Context, Key, Modifiers};
use eframe::egui_wgpu::RendererOptions;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use egui_kittest::wgpu::{WgpuTestRenderer, create_render_state};
use percept::device::gpu::Adapter;

use crate::app::App;
use crate::setup;

/// Longer than a run takes on the slowest software adapter, most of it compilation.
const PATIENCE: Duration = Duration::from_secs(120);

/// A window. The application is created with its first frame.
type Window = Harness<'static, Option<App>>;

/// Opens a window, or returns `None` if there is no adapter to draw it.
fn window() -> Option<Window> {
    if Adapter::all().is_empty() {
        let required = std::env::var("PERCEPT_REQUIRE_GPU").is_ok_and(|value| value == "1");
        assert!(!required, "PERCEPT_REQUIRE_GPU=1, and there is no adapter");
        println!("no adapter: nothing is tested in a window");
        return None;
    }
    let render = create_render_state(setup(), RendererOptions::PREDICTABLE);
    let builder = Harness::builder().with_size([960.0, 640.0]);
    let builder = builder.renderer(WgpuTestRenderer::from_render_state(render.clone()));
    let make = move |context: &Context| App::new(context, render.clone(), false).expect("an application");
    Some(
        builder
            .build_ui_state(move |ui, app: &mut Option<App>| app.get_or_insert_with(|| make(ui.ctx())).draw(ui), None),
    )
}

/// Sets the number of images, the number of steps, the seed and the file.
fn choose(window: &mut Window, samples: u32, steps: u32, seed: u64, save: &Path) {
    window.state_mut().as_mut().expect("an application").choose(samples, steps, seed, save);
}

/// Draws frames until the window shows a text.
fn wait_for(window: &mut Window, text: &str) {
    let began = Instant::now();
    while window.query_by_label_contains(text).is_none() {
        assert!(began.elapsed() < PATIENCE, "the window never said {text:?}");
        window.step();
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl eframe::egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

fn drop_file(window: &mut Window, path: &Path) {
    window.input_mut().dropped_files.push(Arc::new(Dropped(path.to_path_buf())));
    window.run_steps(2);
}

#[test]
fn samples_fill_the_window_and_are_saved_with_how_they_were_made() {
    let Some(mut window) = window() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    // The window's GPU and the CPU give the same pictures, except for rounding.
    let mut sheets = Vec::new();
    for device in ["the window's GPU", "the CPU"] {
        let file = folder.path().join(format!("{device}.png"));
        window.get_by_label(device).click();
        choose(&mut window, 3, 4, 7, &file);
        window.run_steps(2);
        window.get_by_label("Sample").click();
        // Choices that are made after the click do not affect the run.
        window.step();
        choose(&mut window, 1, 1, 1, &file);
        wait_for(&mut window, "3 images");
        window.get_by_role_and_label(Role::Button, "Save").click();
        wait_for(&mut window, "was written");
        assert!(text_of(&file).contains("percept:seed\u{0}7"), "{device}");
        sheets.push(image::open(&file).expect("a PNG").to_rgb8());
        let frame = window.render().expect("a frame");
        let colours: std::collections::BTreeSet<[u8; 4]> = frame.pixels().map(|pixel| pixel.0).collect();
        assert!(colours.len() > 1000, "{device}: {} colours in the window", colours.len());
    }
    let near = sheets[0].as_raw().iter().zip(sheets[1].as_raw()).all(|(a, b)| a.abs_diff(*b) <= 2);
    assert!(sheets[0].dimensions() == sheets[1].dimensions() && near);
}

/// Returns a file's bytes as text, to search its text chunks.
fn text_of(file: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(file).expect("a file")).into_owned()
}

#[test]
fn escape_cancels_and_enter_samples_again() {
    let Some(mut window) = window() else { return };
    window.get_by_label("the CPU").click();
    choose(&mut window, 4, 1000, 0, Path::new("never.png"));
    window.run_steps(2);
    window.key_press(Key::Enter);
    wait_for(&mut window, "step 1 of 1000");
    window.key_press(Key::Escape);
    wait_for(&mut window, "cancelled: 0 images are whole");
    // There is nothing to save.
    window.key_press_modifiers(Modifiers::COMMAND, Key::S);
    window.run_steps(2);
    assert!(!Path::new("never.png").exists());

    choose(&mut window, 2, 2, 0, Path::new("never.png"));
    window.key_press(Key::Enter);
    wait_for(&mut window, "2 images");
}

#[test]
fn what_is_wrong_shows_in_the_window() {
    let Some(mut window) = window() else { return };
    drop_file(&mut window, Path::new("nowhere/picture.png"));
    wait_for(&mut window, "nowhere/picture.png");

    // A bundle is not opened until it is sampled from.
    drop_file(&mut window, Path::new("nowhere/other.bundle.json"));
    window.key_press(Key::Enter);
    wait_for(&mut window, "nowhere/other.bundle.json");

    // A valid run, saved to a folder that does not exist.
    window.get_by_label("trunk").click();
    window.get_by_label("the CPU").click();
    choose(&mut window, 1, 1, 0, Path::new("nowhere/samples.png"));
    window.run_steps(2);
    window.key_press(Key::Enter);
    wait_for(&mut window, "1 images");
    window.get_by_role_and_label(Role::Button, "Save").click();
    wait_for(&mut window, "nowhere/samples.png");
    assert!(!Path::new("nowhere").exists());
}
