//! Tests that README.md's embedding example is the program that is compiled and run.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_first_rust_block_is_the_embedding_example() {
    let readme = read("README.md");
    let block: Vec<&str> =
        readme.lines().skip_while(|line| *line != "```rust").skip(1).take_while(|line| *line != "```").collect();
    let program = read("examples/embed/src/bin/embed.rs");
    for (number, (shown, compiled)) in block.iter().zip(program.lines()).enumerate() {
        assert_eq!(*shown, compiled, "line {}", number + 1);
    }
    assert_eq!(block.len(), program.lines().count());
    assert!(block.contains(&"fn main() -> percept::Result<()> {"));
}
