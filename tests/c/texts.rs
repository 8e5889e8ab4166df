//! Tests strings and messages.

use std::ffi::CStr;
use std::fs;
use std::ptr::dangling_mut;

use percept_c::*;

use crate::{Opened, c_asset, c_string, fails, message, succeeds};

/// Latin-1, not UTF-8.
const LATIN: &CStr = c"caf\xe9";

fn open(path: &CStr, device: &CStr) -> (percept_status, *mut percept_bundle) {
    let mut bundle = dangling_mut();
    // SAFETY: the strings end in 0, and the bundle can be written.
    (unsafe { percept_bundle_open(path.as_ptr(), device.as_ptr(), &raw mut bundle) }, bundle)
}

#[test]
fn a_bundle_that_cannot_be_opened_has_a_status_and_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let damaged = folder.path().join("damaged.bundle.json");
    fs::write(&damaged, "{").expect("a file");
    let (bundle, damaged) = (c_asset("trunk.bundle.json"), c_string(damaged.to_str().expect("UTF-8")));
    let table = [
        (LATIN, c"cpu", percept_status::Argument, ["path: expected a string in UTF-8", "index 3"]),
        (&bundle, LATIN, percept_status::Argument, ["device: expected a string in UTF-8", "index 3"]),
        (&bundle, c"no such card", percept_status::Device, ["device", "no such card"]),
        (c"nowhere.bundle.json", c"cpu", percept_status::File, ["nowhere.bundle.json", ""]),
        (&damaged, c"cpu", percept_status::File, ["damaged.bundle.json", ""]),
    ];
    for (path, device, expected, saying) in table {
        let (status, bundle) = open(path, device);
        fails(status, expected, &saying);
        assert_eq!(bundle, dangling_mut(), "{path:?} on {device:?}");
    }
}

#[test]
fn a_picture_that_cannot_be_read_has_a_status() {
    let folder = tempfile::tempdir().expect("a folder");
    let damaged = folder.path().join("damaged.png");
    fs::write(&damaged, b"\x89PNG\r\n\x1a\n").expect("a file");
    let (bundle, damaged) = (Opened::new(), c_string(damaged.to_str().expect("UTF-8")));
    let table = [
        (LATIN, percept_status::Argument, "path: expected a string in UTF-8"),
        (c"nowhere.png", percept_status::File, "nowhere.png"),
        (&damaged, percept_status::File, "damaged.png"),
    ];
    for (path, expected, saying) in table {
        let mut h = [-7.25; 256];
        // SAFETY: the bundle is open, the path ends in 0, and the buffer has 256 floats.
        let status = unsafe { percept_encode_file(bundle.0, path.as_ptr(), h.as_mut_ptr(), h.len()) };
        fails(status, expected, &[saying]);
        assert_eq!(h, [-7.25; 256]);
    }
}

#[test]
fn a_message_is_that_of_the_last_call_of_its_thread_that_failed() {
    // Use a thread that has not called anything yet.
    let thread = std::thread::spawn(|| {
        assert_eq!(message(), "");
        let bundle = Opened::new();
        assert_eq!(message(), "", "success says nothing");
        assert_eq!(open(c"nowhere.bundle.json", c"cpu").0, percept_status::File);
        let said = message();
        assert!(said.contains("nowhere.bundle.json"), "{said}");
        let (mut length, mut size) = (0, 0);
        // SAFETY: the bundle is open, and both numbers can be written.
        succeeds(unsafe { percept_bundle_sizes(bundle.0, &raw mut length, &raw mut size) });
        assert_eq!(message(), said, "a success leaves it");
        assert_eq!(std::thread::spawn(message).join().expect("no panic"), "", "another thread's is its own");
        assert_eq!(open(LATIN, c"cpu").0, percept_status::Argument);
        assert!(message().starts_with("path: "), "{}", message());
    });
    thread.join().expect("no panic");
}

#[test]
fn the_interface_is_of_version_1() {
    assert_eq!(percept_version(), 1);
}
