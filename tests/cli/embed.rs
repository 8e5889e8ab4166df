//! Tests that the small programs that embed percept run, and do what their documentation says.

use std::time::Duration;

use crate::{Folder, asset};

#[test]
fn writes_four_samples() {
    let folder = Folder::new();
    let ended = percept_tests::output(&mut folder.command("embed"));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let names: Vec<String> = (0..4).map(|index| format!("sample_{index}.png")).collect();
    assert_eq!(folder.names(), names);
    for name in names {
        let sample = image::open(folder.path(&name)).expect("a picture");
        assert_eq!((sample.width(), sample.height()), (32, 32), "{name}");
    }
}

#[test]
fn a_job_shows_progress_and_can_be_cancelled() {
    for (argument, count) in [("--to-the-end", 4), ("--cancel-half-way", 0)] {
        let folder = Folder::new();
        let ended = percept_tests::output(folder.command("job").arg(argument));
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(folder.names().len(), count, "{argument}");
    }
}

#[test]
fn pictures_appear_in_a_programs_own_texture() {
    if percept_tests::adapters().is_empty() {
        return;
    }
    // A software adapter takes minutes, since the program computes in slices of a frame.
    let limit = Duration::from_secs(600);
    let ended = percept_tests::output_within(&mut Folder::new().command("texture"), limit);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(String::from_utf8_lossy(&ended.stdout).contains("step 8 is in the texture"));
}

#[test]
fn a_service_outlives_what_cannot_be_done() {
    let folder = Folder::new();
    let star = asset("images/4_star.png");
    let lines =
        format!("{0} 1 one.png\nnowhere.png 1 two.png\n{0} many three.png\nhello\n{0} 1 four.png\n", star.display());
    std::fs::write(folder.path("lines"), lines).expect("a file");
    let input = std::fs::File::open(folder.path("lines")).expect("a file");
    let ended = percept_tests::output(folder.command("service").stdin(input));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    let told: Vec<&str> = told.lines().collect();
    let [one, two, three, hello, four] = told[..] else { panic!("{told:?}") };
    assert_eq!([one, four], ["ok one.png", "ok four.png"]);
    for (line, names) in [(two, "nowhere.png"), (three, "many"), (hello, "hello")] {
        assert!(line.starts_with("error ") && line.contains(names), "{line}");
    }
    assert_eq!(folder.read("one.png"), folder.read("four.png"));
    assert!(!folder.names().iter().any(|name| name.starts_with("two") || name.starts_with("three")));
}
