//! Tests `percept upscale` and `percept sample --upsampler`: their output, and the arguments that they refuse.

use image::RgbImage;
use percept::weights::OpenModel;
use percept::{Device, Method, SampleOptions, Upsampler};
use percept_tests::{SplitMix, golden_model, write_synthetic, write_upsampler_32_64};

use crate::sample::{arr_0, text_chunks};
use crate::{Folder, asset};

/// Creates a folder with an upsampler from 32 to 64 pixels, another with 7 classes, and one that makes images
/// of 32.
fn folder() -> Folder {
    let folder = Folder::new();
    write_upsampler_32_64(&folder.path("up.safetensors"), false);
    write_upsampler_32_64(&folder.path("classes.safetensors"), true);
    let (config, weights) = golden_model("sampler_superres_8_32_ddim");
    write_synthetic(&folder.path("other.safetensors"), "superres", &config, &weights);
    folder
}

/// Returns a picture of noise.
fn picture(seed: u64, size: u32) -> RgbImage {
    let mut random = SplitMix::new(seed);
    RgbImage::from_fn(size, size, |_, _| image::Rgb([0; 3].map(|_| random.word() as u8)))
}

fn write(folder: &Folder, name: &str, picture: &RgbImage) {
    picture.save(folder.path(name)).expect("a folder to write to");
}

/// Upsamples small images with the library.
fn library(folder: &Folder, upsampler: &str, small: &[RgbImage], options: &SampleOptions) -> Vec<u8> {
    let upsampler = Upsampler::open(folder.path(upsampler), &Device::cpu().expect("a CPU")).expect("an upsampler");
    let job = upsampler.start(&small.iter().collect::<Vec<_>>(), options).expect("a job");
    job.finish().expect("images").iter().flatten().flat_map(|image| image.to_vec()).collect()
}

fn options(method: Method) -> SampleOptions {
    SampleOptions { samples: 1, method, seed: 7, ..SampleOptions::default() }
}

#[test]
fn an_npz_holds_what_the_library_gives() {
    let folder = folder();
    let small = [1, 2, 3].map(|seed| picture(seed, 32));
    for (name, picture) in ["a.png", "b.png", "c.png"].iter().zip(&small) {
        write(&folder, name, picture);
    }
    let upscale = |flags: &str| {
        folder.percept_succeeds(&format!("upscale a.png b.png c.png -o large.npz {flags}"), &[]);
        arr_0(&folder.read("large.npz"))
    };
    let want = library(&folder, "up.safetensors", &small, &options(Method::ddpm(2)));
    for flags in ["", "--batch 1", "--batch 2 --threads 1", "--device cpu"] {
        let (shape, got) = upscale(&format!("--upsampler up.safetensors --steps 2 --seed 7 {flags}"));
        assert_eq!(shape, "3, 64, 64, 3");
        assert!(got == want, "{flags}: other bytes");
    }
    assert!(upscale("--upsampler up.safetensors --steps 2 --seed 8").1 != want, "another seed");
    let of_class = |class| SampleOptions { class: Some(class), ..options(Method::ddim(2)) };
    let (_, got) = upscale("--upsampler classes.safetensors --sampler ddim --steps 2 --seed 7 --class 6");
    assert!(got == library(&folder, "classes.safetensors", &small, &of_class(6)));
    assert!(got != library(&folder, "classes.safetensors", &small, &of_class(5)), "another class");
}

#[test]
fn a_grid_of_large_pictures_says_how_it_was_made() {
    let folder = folder();
    write(&folder, "a.png", &picture(1, 32));
    write(&folder, "b.png", &picture(2, 50));
    let line = "upscale a.png b.png --upsampler up.safetensors --steps 2 --seed 7 --crop -o grid.png";
    let printed = folder.percept_succeeds(line, &[]);
    assert!(printed.starts_with("grid.png: 2 pictures from 32 to 64 pixels, "), "{printed}");
    let grid = image::open(folder.path("grid.png")).expect("a picture").into_rgb8();
    // Two cells of 128 pixels, the smallest multiple of 64 that is at least 96, in each of two rows.
    assert!(grid.width() > 256 && grid.height() > 256, "{} x {}", grid.width(), grid.height());
    let chunks = text_chunks(&folder.read("grid.png"));
    let text = |keyword: &str| {
        let chunk = chunks.iter().find(|chunk| chunk.0 == keyword);
        chunk.unwrap_or_else(|| panic!("no {keyword} in {chunks:?}")).1.as_str()
    };
    assert_eq!((text("seed"), text("sampler"), text("steps"), text("samples")), ("7", "ddpm", "2", "1"));
    assert_eq!(text("pictures"), "a.png\nb.png");
    let model = OpenModel::open(folder.path("up.safetensors")).expect("a model file");
    let hash = model.sha256();
    assert_eq!(text("upsampler"), format!("steps 2\ncrop rcdm\nupsampler up.safetensors sha256 {hash}"));

    let printed = folder.percept_succeeds("upscale a.png --upsampler up.safetensors --steps 2 --json", &[]);
    let json: serde_json::Value = serde_json::from_str(&printed).expect("one JSON object");
    assert_eq!(json["upsampler"]["files"][0]["sha256"], hash.as_str());
    assert_eq!((&json["upsampler"]["steps"], &json["file"]), (&"2".into(), &"percept.png".into()));
    assert!(json["upsampler"]["crop"].is_null() && json["bundles"].as_array().is_some_and(Vec::is_empty), "{json}");
}

#[test]
fn samples_are_made_larger_in_one_command() {
    let folder = folder();
    let pictures = ["2_square.png", "5_ring.png"].map(|name| asset("images").join(name));
    let sample = |flags: &str| {
        let line = format!("sample --samples 2 --seed 7 --steps 3 -o s.npz {flags}");
        folder.percept_succeeds(&line, &pictures);
        arr_0(&folder.read("s.npz"))
    };
    let bundle = format!("--bundle {}", asset("trunk.bundle.json").display());
    let (shape, small) = sample(&bundle);
    assert_eq!(shape, "4, 32, 32, 3");
    let of_32 = |bytes: &[u8]| RgbImage::from_raw(32, 32, bytes.to_vec()).expect("an image");
    let small: Vec<RgbImage> = small.chunks(32 * 32 * 3).map(of_32).collect();
    let (shape, large) = sample(&format!("{bundle} --upsampler up.safetensors --upsampler-steps 2"));
    assert_eq!(shape, "4, 64, 64, 3");
    assert!(large == library(&folder, "up.safetensors", &small, &options(Method::ddpm(2))));
    // Without its own number of steps, it takes as many as the decoder.
    let (_, large) = sample(&format!("{bundle} --upsampler up.safetensors --batch 3"));
    assert!(large == library(&folder, "up.safetensors", &small, &options(Method::ddpm(3))));
    // Only the upsampler uses the class; no decoder here has classes.
    let (_, large) = sample(&format!("{bundle} --upsampler classes.safetensors --class 4"));
    let of_class = SampleOptions { class: Some(4), ..options(Method::ddpm(3)) };
    assert!(large == library(&folder, "classes.safetensors", &small, &of_class));

    // Both bundles of the demo, in a grid.
    let line = "sample --samples 2 --steps 2 --upsampler up.safetensors --upsampler-steps ddim2 -o grid.png";
    let printed = folder.percept_succeeds(line, &pictures);
    let said = "grid.png: 2 pictures, 2 samples of each from trunk and head, 64 pixels a side, ";
    assert!(printed.starts_with(said), "{printed}");
    let grid = image::open(folder.path("grid.png")).expect("a picture").into_rgb8();
    // Five cells of 128 pixels, two rows.
    assert!(grid.width() > 640 && grid.height() > 256, "{} x {}", grid.width(), grid.height());
    let chunks = text_chunks(&folder.read("grid.png"));
    let of_upsampler = chunks.iter().find(|chunk| chunk.0 == "upsampler").expect("a chunk");
    assert!(of_upsampler.1.starts_with("steps ddim2\nupsampler up.safetensors sha256 "), "{of_upsampler:?}");
}

#[test]
fn what_cannot_be_made_larger_is_named() {
    let folder = folder();
    write(&folder, "32.png", &picture(1, 32));
    write(&folder, "31.png", &picture(1, 31));
    let decoder = asset("decoder_trunk.safetensors").display().to_string();
    let up = "--upsampler up.safetensors";
    let cases: [(&str, &[&str]); 13] = [
        (up, &["31.png", "32 x 32 pixels, which up.safetensors makes larger, or --crop", "31 x 31"]),
        (&format!("--upsampler {decoder}"), &["decoder_trunk", "kind \"superres\"", "\"unet\""]),
        ("--upsampler 32.png", &["32.png", "a .safetensors file"]),
        ("--upsampler none.safetensors", &["none.safetensors", "a readable .safetensors file"]),
        (&format!("{up} --class 0"), &["--class", "up.safetensors is not class-conditional", "got 0"]),
        ("--upsampler classes.safetensors", &["--class", "0 to 6", "classes.safetensors is class-conditional", "none"]),
        ("--upsampler classes.safetensors --class 7", &["--class", "0 to 6, the classes of classes.safetensors", "7"]),
        (&format!("{up} --steps 0"), &["--steps", "at least one step"]),
        (&format!("{up} --steps 1001"), &["--steps", "at most 1000 steps"]),
        (&format!("{up} --sampler ddpm --eta 0.5"), &["--eta", "0 with ddpm"]),
        (&format!("{up} -o 32.png"), &["-o 32.png", "another file than the pictures"]),
        (&format!("{up} -o grid.gif"), &["-o grid.gif", ".png or .npz"]),
        (&format!("{up} --device abacus"), &["--device", "abacus"]),
    ];
    for (line, saying) in cases {
        // The first picture could be upsampled, but no work starts.
        folder.percept_fails(&format!("upscale 32.png 31.png {line}"), &[], saying);
    }
}

#[test]
fn upsamplers_that_do_not_go_with_a_decoder_are_named() {
    let folder = folder();
    let picture = [asset("images/1_disc.png")];
    let bundle = format!("sample --steps 2 --bundle {}", asset("trunk.bundle.json").display());
    let files = format!("sample --steps 2 --encoder {} --decoder", asset("encoder.safetensors").display());
    let decoder = asset("decoder_trunk.safetensors").display().to_string();
    let cases: [(String, &[&str]); 7] = [
        (
            format!("{bundle} --upsampler other.safetensors"),
            &["other.safetensors", "images of 32 pixels a side, as decoder_trunk.safetensors makes them", "one of 8"],
        ),
        (format!("{bundle} --upsampler {decoder}"), &["decoder_trunk", "kind \"superres\"", "\"unet\""]),
        (format!("{files} up.safetensors"), &["up.safetensors", "kind \"unet\"", "\"superres\""]),
        (
            format!("{bundle} --upsampler classes.safetensors"),
            &["--class", "0 to 6, since classes.safetensors is class-conditional", "none"],
        ),
        (
            format!("{bundle} --upsampler up.safetensors --class 1"),
            &["--class", "decoder_trunk.safetensors is not class-conditional and up.safetensors is not"],
        ),
        (
            format!("{bundle} --upsampler up.safetensors --upsampler-steps 0"),
            &["--upsampler-steps", "at least one step"],
        ),
        (format!("{bundle} --upsampler up.safetensors --samples 400000 -o g.png"), &["at most", "pixels"]),
    ];
    for (line, saying) in cases {
        folder.percept_fails(&line, &picture, saying);
    }
}
