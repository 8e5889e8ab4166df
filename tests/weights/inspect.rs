//! Tests `percept-weights inspect`.

use percept_weights::{Checkpoint, inspect};

use super::convert::layout;
use super::file;

#[test]
fn a_checkpoint_as_a_tree() {
    let text = inspect::text(&Checkpoint::open(&file("zip.pth")).expect("a checkpoint"));
    let (head, tree) = text.split_once("\n\n").expect("a head and a tree");
    assert!(head.contains("zip.pth: PyTorch, zip, 17 tensors, 634 B"), "{head}");
    assert!(head.contains("bf16: 6 elements in 1 tensors"), "{head}");
    let want = "\
optimizer.state.0                3 tensors, 20 B
  exp_avg                        f32  [2]                  8 B
  exp_avg_sq                     f32  [2]                  8 B
  step                           f32  []                   4 B
teacher.module                   14 tensors, 614 B
  backbone                       7 tensors, 560 B
    bn1.num_batches_tracked      i64  []                   8 B
    conv1.weight                 f32  [4, 3, 2, 2]         192 B
    layer1                       5 tensors, 360 B
      0.weight                   f32  [3, 6]               72 B
      1.weight                   f32  [5, 3]               60 B
      2.weight                   f32  [5, 3]               60 B
      9.weight                   f32  [2, 6]               48 B
      10.weight                  f32  [5, 6]               120 B
  head                           7 tensors, 54 B
    bf16                         bf16 [2, 3]               12 B
    bytes                        u8   [5]                  5 B
    double                       f64  [2]                  16 B
    empty                        f32  [0, 3]               0 B
    half                         f16  [3]                  6 B
    mask                         bool [3]                  3 B
    nan                          f32  [3]                  12 B
";
    let squeezed = |text: &str| -> Vec<String> {
        let line = |line: &str| {
            let indent = line.len() - line.trim_start().len();
            format!("{indent} {}", line.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        text.lines().map(line).collect()
    };
    assert_eq!(squeezed(tree), squeezed(want));
    // The descriptions begin in the same column.
    let column = |line: &str| line.find("  [").or(line.find(" tensors"));
    assert!(tree.lines().all(|line| column(line).is_some() || line.contains('[')), "{tree}");
}

/// Names that are prefixes of others, empty names, and names with escape sequences for a terminal.
#[test]
fn odd_names_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("odd.safetensors");
    let names = ["a", "a.", "a.b", "a..c", ".", "", "\u{1b}[31mred.x", "\u{1b}[31mred.y", "ü.é.1", "ü.é.2"];
    let header: serde_json::Map<String, serde_json::Value> = names
        .iter()
        .map(|name| (name.to_string(), serde_json::json!({"dtype": "U8", "shape": [0], "data_offsets": [0, 0]})))
        .collect();
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    std::fs::write(&path, bytes).expect("a file");
    let text = inspect::text(&Checkpoint::open(&path).expect("a file"));
    assert_eq!(text.matches("[0]").count(), names.len(), "{text}");
    assert!(text.contains("\\u{1b}[31mred") && !text.contains('\u{1b}'), "{text}");
}

/// The models that `convert` would find are recognized from names and shapes.
#[test]
fn models_are_named() {
    let text = inspect::text(&Checkpoint::open(&layout("dino_resnet50_full.pth")).expect("a checkpoint"));
    assert!(text.contains("trunk: a resnet in teacher.module.backbone., "), "{text}");
    assert!(text.contains(r#"{"block":"bottleneck","layers":[3,4,6,3],"width":4}"#), "{text}");
    assert!(text.contains("head: a head in teacher.module.head., "), "{text}");
    let object = |name: &str| -> serde_json::Value {
        serde_json::from_str(&inspect::json(&Checkpoint::open(&layout(name)).expect("a checkpoint"))).expect("JSON")
    };
    let rcdm = object("rcdm_time_embedding.pt");
    assert_eq!((&rcdm["models"][0]["part"], &rcdm["models"][0]["kind"]), (&"decoder".into(), &"unet".into()));
    assert!(rcdm["models"][0]["error"].as_str().expect("an error").contains("image_size"), "{rcdm}");
    assert_eq!(object("byol_head.pth")["models"][0]["parameters"], 32 * 64 + 64 + 4 * 64 + 64 * 16 + 16);
    assert_eq!(object("opt.pt")["models"], serde_json::json!([]));
}

#[test]
fn a_checkpoint_as_json() {
    let text = inspect::json(&Checkpoint::open(&file("plain.safetensors")).expect("a file"));
    let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(object["format"], ".safetensors");
    assert_eq!(object["metadata"]["written by"], "make.py");
    let tensors = object["tensors"].as_array().expect("tensors");
    assert_eq!(tensors.len(), 17);
    let want = serde_json::json!({
        "name": "teacher.module.backbone.conv1.weight", "dtype": "f32", "shape": [4, 3, 2, 2], "bytes": 192,
    });
    assert!(tensors.contains(&want), "{text}");
}
