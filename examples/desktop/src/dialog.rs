//! The system's file dialogs. Each has its own thread that waits for it, so the window's thread does not block.

use std::path::PathBuf;
use std::sync::mpsc::Sender;

use eframe::egui;
use rfd::AsyncFileDialog;

/// A file that was chosen.
pub enum Chosen {
    /// A picture or a bundle to open.
    Open(PathBuf),
    /// The file to write the samples to.
    Save(PathBuf),
}

/// Asks for a picture or a bundle.
pub fn open(window: &egui::Context, to: &Sender<Chosen>) {
    let dialog = AsyncFileDialog::new().set_title("a picture, or a bundle");
    let asked = dialog.add_filter("pictures and bundles", &["png", "jpg", "jpeg", "json"]).pick_file();
    answer(window, to, async { asked.await.map(|file| Chosen::Open(file.into())) });
}

/// Asks for the file to write the samples to.
pub fn save(window: &egui::Context, to: &Sender<Chosen>) {
    let dialog = AsyncFileDialog::new().set_title("where to write the samples").set_file_name("percept.png");
    let asked = dialog.add_filter("PNG", &["png"]).save_file();
    answer(window, to, async { asked.await.map(|file| Chosen::Save(file.into())) });
}

/// Sends the chosen file, if there is one, and requests a repaint of the window.
fn answer(window: &egui::Context, to: &Sender<Chosen>, asked: impl Future<Output = Option<Chosen>> + Send + 'static) {
    let (window, to) = (window.clone(), to.clone());
    std::thread::spawn(move || {
        if let Some(chosen) = pollster::block_on(asked) {
            // The window may have been closed in the meantime.
            let _ = to.send(chosen);
            window.request_repaint();
        }
    });
}
