//! The window: choices on the left, samples next to them, and the status at the bottom.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use eframe::egui::{self, Key, Modifiers};
use eframe::egui_wgpu::RenderState;
use image::RgbImage;
use percept::device::gpu::Gpu;
use percept::images;
use percept::images::grid::{Grid, Row};
use percept::{Device, Job, Method, SampleOptions, Status};
use percept::{Error, Result};

use crate::canvas::Canvas;
use crate::demo;
use crate::dialog::{self, Chosen};
use crate::frames::{Frames, Phase};
use crate::worker::{Request, Started, Worker};

/// The time that percept may take of each frame.
const BUDGET: Duration = Duration::from_millis(8);
/// The size of the pictures to choose from, in points.
const THUMBNAIL: f32 = 56.0;

/// The application.
pub struct App {
    render: RenderState,
    /// The window's GPU and the CPU.
    devices: [Device; 2],
    worker: Worker,
    is_loading: bool,
    /// The channel for files that are chosen in the system's dialogs.
    choose: Sender<Chosen>,
    chosen: Receiver<Chosen>,
    bundles: Vec<PathBuf>,
    pictures: Vec<Choice>,
    settings: Settings,
    run: Option<Run>,
    /// The last message, and true if it is an error.
    message: Option<(String, bool)>,
    frames: Frames,
    is_reporting: bool,
}

/// A picture that can be chosen.
struct Choice {
    path: PathBuf,
    thumbnail: egui::TextureHandle,
}

struct Settings {
    bundle: usize,
    picture: usize,
    device: usize,
    samples: u32,
    steps: u32,
    seed: u64,
    /// The path of a file to open.
    open: String,
    /// The path to save the grid to.
    save: String,
}

/// A run, in progress or finished, and what it was started with.
struct Run {
    job: Job,
    canvas: Canvas,
    picture: RgbImage,
    size: u32,
    name: String,
    layer: String,
    text: Vec<(&'static str, String)>,
}

impl App {
    /// Creates the application on the device of a window.
    ///
    /// # Errors
    /// Returns [`Error::Device`] if the CPU device cannot start its threads.
    pub fn new(context: &egui::Context, render: RenderState, is_reporting: bool) -> Result<Self> {
        let gpu = Gpu::from_wgpu(&render.device, &render.queue);
        let is_asked_for = std::env::var("PERCEPT_DEVICE").is_ok_and(|name| name == "window");
        let device = usize::from(gpu.is_software() && !is_asked_for);
        let devices = [Device::from(gpu), Device::cpu()?];
        let (choose, chosen) = channel();
        let mut app = App {
            render,
            devices,
            worker: Worker::new(context.clone()),
            is_loading: false,
            choose,
            chosen,
            bundles: demo::bundles(),
            pictures: Vec::new(),
            settings: Settings {
                bundle: 0,
                picture: 0,
                device,
                samples: 9,
                steps: 25,
                seed: 0,
                open: String::new(),
                save: "percept.png".into(),
            },
            run: None,
            message: None,
            frames: Frames::default(),
            is_reporting,
        };
        demo::pictures().into_iter().for_each(|path| app.add_picture(context, path));
        app.settings.picture = 0;
        Ok(app)
    }

    /// Sets the number of images, the number of steps, the seed and the file.
    #[cfg(test)]
    pub fn choose(&mut self, samples: u32, steps: u32, seed: u64, save: &std::path::Path) {
        let save = save.display().to_string();
        self.settings = Settings { samples, steps, seed, save, open: String::new(), ..self.settings };
    }

    fn tell(&mut self, result: Result<String>) {
        self.message = Some(match result {
            Ok(done) => (done, false),
            Err(error) => (error.to_string(), true),
        });
    }

    /// Adds a picture to choose from, and selects it.
    fn add_picture(&mut self, context: &egui::Context, path: PathBuf) {
        let image = match images::open(&path) {
            Ok(image) => image::imageops::thumbnail(&image, 2 * THUMBNAIL as u32, 2 * THUMBNAIL as u32),
            Err(error) => return self.tell(Err(error)),
        };
        let size = [image.width() as usize, image.height() as usize];
        let pixels = egui::ColorImage::from_rgb(size, image.as_raw());
        let thumbnail = context.load_texture(path.display().to_string(), pixels, egui::TextureOptions::LINEAR);
        self.settings.picture = self.pictures.len();
        self.pictures.push(Choice { path, thumbnail });
    }

    /// Opens a bundle or a picture, depending on the file's extension.
    fn open(&mut self, context: &egui::Context, path: PathBuf) {
        if path.extension().is_some_and(|extension| extension == "json") {
            self.settings.bundle = self.bundles.len();
            self.bundles.push(path);
        } else {
            self.add_picture(context, path);
        }
    }

    fn is_sampling(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.job.progress().status == Status::Running)
    }

    /// Cancels the current run, if there is one, and requests a new one.
    fn start(&mut self) {
        self.cancel();
        let Settings { bundle, picture, device, samples, steps, seed, .. } = self.settings;
        let (Some(bundle), Some(picture)) = (self.bundles.get(bundle), self.pictures.get(picture)) else {
            return self.tell(Err(Error::config("picture", "one to be chosen", "none")));
        };
        let options = SampleOptions {
            samples: samples as usize,
            method: Method::ddpm(steps as usize),
            seed,
            batch: Some((samples as usize).min(4)),
            ..SampleOptions::default()
        };
        let device = self.devices[device].clone();
        let request = Request { bundle: bundle.clone(), picture: picture.path.clone(), device, options };
        self.message = None;
        self.is_loading = self.worker.ask(request);
    }

    fn cancel(&mut self) {
        if let Some(run) = &self.run {
            run.job.token().cancel();
        }
    }

    /// Receives a run that the worker has loaded.
    fn receive(&mut self) {
        let Some(answer) = self.worker.answer() else { return };
        self.is_loading = false;
        let Started { request: Request { bundle, picture: path, device, options }, job, picture, size } = match answer {
            Ok(started) => started,
            Err(error) => return self.tell(Err(error)),
        };
        let (name, layer) = (demo::stem(&path), demo::stem(&bundle));
        let text = vec![
            ("percept:picture", name.clone()),
            ("percept:bundle", layer.clone()),
            ("percept:sampler", format!("ddpm, {} steps", options.method.steps)),
            ("percept:seed", options.seed.to_string()),
        ];
        self.frames.restart_slices();
        let is_shared = device.gpu().is_some();
        let canvas = Canvas::new(&self.render, options.samples as u32, size, is_shared);
        self.run = Some(Run { job, canvas, picture, size, name, layer, text });
    }

    /// Advances the run by a frame's budget and shows the result.
    fn advance(&mut self) {
        let Some(run) = &mut self.run else { return };
        let before = run.job.progress();
        if before.status != Status::Running {
            return;
        }
        let advanced = run.job.advance(BUDGET).and_then(|now| {
            self.frames.slice(now.slice);
            if now.done > before.done { run.canvas.update(&mut run.job) } else { Ok(()) }
        });
        if let Err(error) = advanced {
            run.job.token().cancel();
            self.tell(Err(error));
        }
    }

    /// Writes the picture and its samples, and records how they were made.
    fn save(&mut self) {
        let Some(run) = &self.run else { return };
        let grid = Grid {
            sample_size: run.size,
            headings: vec!["picture".into(), format!("{}: {} samples", run.layer, run.job.images().len())],
            rows: vec![Row {
                label: run.name.clone(),
                groups: vec![vec![run.picture.clone()], run.job.images().to_vec()],
            }],
        };
        let text: Vec<(&str, &str)> = run.text.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let written = grid.render().and_then(|sheet| images::write_png(&self.settings.save, &sheet, &text));
        self.tell(written.map(|()| format!("{} was written", self.settings.save)));
    }

    fn has_images(&self) -> bool {
        self.run.as_ref().is_some_and(|run| !run.job.images().is_empty())
    }

    /// Handles chosen and dropped files, and keys: Enter samples, Escape cancels, Ctrl+S saves, Ctrl+O opens, Ctrl+Q
    /// closes.
    fn input(&mut self, context: &egui::Context) {
        while let Ok(chosen) = self.chosen.try_recv() {
            match chosen {
                Chosen::Open(path) => self.open(context, path),
                Chosen::Save(path) => {
                    self.settings.save = path.display().to_string();
                    self.save();
                }
            }
        }
        let dropped = context.input(|input| input.raw.dropped_files.clone());
        dropped.iter().for_each(|file| self.open(context, file.path().to_path_buf()));
        let pressed = |modifiers, key| context.input_mut(|input| input.consume_key(modifiers, key));
        if pressed(Modifiers::COMMAND, Key::S) && self.has_images() {
            self.save();
        }
        if pressed(Modifiers::COMMAND, Key::O) {
            dialog::open(context, &self.choose);
        }
        if pressed(Modifiers::COMMAND, Key::Q) {
            context.send_viewport_cmd(egui::ViewportCommand::Close);
        }
        if pressed(Modifiers::NONE, Key::Escape) {
            self.cancel();
        }
        if !context.egui_wants_keyboard_input() && pressed(Modifiers::NONE, Key::Enter) && !self.is_loading {
            self.start();
        }
    }

    fn choices(&mut self, ui: &mut egui::Ui) {
        let heading = |ui: &mut egui::Ui| {
            ui.heading("picture");
            ui.button("Open…")
        };
        let open = ui.horizontal(heading).inner;
        if open.clicked() {
            dialog::open(ui.ctx(), &self.choose);
        }
        ui.horizontal_wrapped(|ui| {
            for (index, choice) in self.pictures.iter().enumerate() {
                let image = egui::Image::new(&choice.thumbnail).fit_to_exact_size(egui::Vec2::splat(THUMBNAIL));
                let button = egui::Button::image(image).selected(self.settings.picture == index);
                if ui.add(button).on_hover_text(choice.path.display().to_string()).clicked() {
                    self.settings.picture = index;
                }
            }
        });
        let field = egui::TextEdit::singleline(&mut self.settings.open).hint_text("a file to open; or drop one here");
        let response = ui.add(field.desired_width(f32::INFINITY)).labelled_by(open.id);
        if response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) {
            let path = PathBuf::from(std::mem::take(&mut self.settings.open));
            self.open(&ui.ctx().clone(), path);
        }
        ui.add_space(8.0);

        ui.heading("representation");
        for (index, bundle) in self.bundles.iter().enumerate() {
            let label = ui.radio_value(&mut self.settings.bundle, index, demo::stem(bundle));
            label.on_hover_text(bundle.display().to_string());
        }
        ui.add_space(8.0);

        ui.heading("samples");
        egui::Grid::new("numbers").show(ui, |ui| {
            let Settings { samples, steps, seed, .. } = &mut self.settings;
            let numbers = [
                ("images", egui::DragValue::new(samples).range(1..=64)),
                ("steps", egui::DragValue::new(steps).range(1..=1000)),
                ("seed", egui::DragValue::new(seed)),
            ];
            for (name, number) in numbers {
                let label = ui.label(name);
                ui.add(number).labelled_by(label.id);
                ui.end_row();
            }
        });
        for (index, device) in self.devices.iter().enumerate() {
            let name = if index == 0 { "the window's GPU" } else { "the CPU" };
            ui.radio_value(&mut self.settings.device, index, name).on_hover_text(device.description());
        }
        ui.add_space(8.0);

        ui.horizontal(|ui| {
            if ui.add_enabled(!self.is_loading, egui::Button::new("Sample")).clicked() {
                self.start();
            }
            if ui.add_enabled(self.is_sampling(), egui::Button::new("Cancel")).clicked() {
                self.cancel();
            }
        });
        let save = ui.horizontal(|ui| {
            let save = ui.add_enabled(self.has_images(), egui::Button::new("Save"));
            if save.clicked() {
                self.save();
            }
            if ui.add_enabled(self.has_images(), egui::Button::new("Save as…")).clicked() {
                dialog::save(ui.ctx(), &self.choose);
            }
            save
        });
        let field = egui::TextEdit::singleline(&mut self.settings.save).desired_width(f32::INFINITY);
        ui.add(field).labelled_by(save.inner.id);
    }

    fn status(&self, ui: &mut egui::Ui) {
        if self.is_loading {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label("loading");
            });
        } else if let Some(run) = &self.run {
            let now = run.job.progress();
            let left = now.left.map_or(String::new(), |left| format!(", {:.0} s left", left.as_secs_f64().ceil()));
            let text = match now.status {
                Status::Running => format!("step {} of {}{left}", now.done, now.total),
                Status::Done => format!("{} images", run.job.images().len()),
                Status::Cancelled => format!("cancelled: {} images are whole", run.job.images().len()),
            };
            ui.add(egui::ProgressBar::new(now.done as f32 / now.total.max(1) as f32).text(text));
        } else {
            ui.label("Enter samples, Escape cancels, Ctrl+O opens, Ctrl+S saves, Ctrl+Q closes.");
        }
        if let Some((message, is_error)) = &self.message {
            let colour = if *is_error { ui.visuals().error_fg_color } else { ui.visuals().text_color() };
            ui.colored_label(colour, message);
        }
    }

    fn samples(&self, ui: &mut egui::Ui) {
        let Some(run) = &self.run else {
            ui.centered_and_justified(|ui| ui.label("What does a representation know of a picture? Choose one."));
            return;
        };
        let (id, size) = run.canvas.image();
        let room = ui.available_size();
        // Scale by an integer if there is room.
        let scale = (room.x / size.x).min(room.y / size.y);
        let scale = if scale >= 1.0 { scale.floor() } else { scale };
        ui.centered_and_justified(|ui| ui.image((id, size * scale)));
    }

    /// Draws a frame of the window.
    pub fn draw(&mut self, ui: &mut egui::Ui) {
        let phase = match (self.is_loading, self.is_sampling()) {
            (true, _) => Phase::Loading,
            (false, true) => Phase::Sampling,
            (false, false) => Phase::Idle,
        };
        self.frames.begin(phase);
        let context = ui.ctx().clone();
        self.input(&context);
        self.receive();
        self.advance();
        egui::Panel::left("choices").default_size(220.0).show(ui, |ui| {
            egui::ScrollArea::vertical().show(ui, |ui| self.choices(ui));
        });
        egui::Panel::bottom("status").show(ui, |ui| self.status(ui));
        egui::CentralPanel::default().show(ui, |ui| self.samples(ui));
        if self.is_reporting || self.is_sampling() {
            context.request_repaint();
        }
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut egui::Ui, _: &mut eframe::Frame) {
        self.draw(ui);
    }

    fn on_exit(&mut self) {
        if self.is_reporting {
            println!("{}", self.frames.report());
        }
    }
}
