//! Composes every variant of every kernel, validates it with naga, and generates Rust code for its interface.
//! Any error fails the build, with the variant's name and naga's own message.

// Each module is used only in part here.
#![allow(dead_code)]

#[path = "src/compose.rs"]
mod compose;
#[path = "src/constants.rs"]
mod constants;
#[path = "src/reflection.rs"]
mod reflection;
#[path = "src/shader.rs"]
mod shader;
#[path = "src/tile.rs"]
mod tile;
#[path = "src/variants.rs"]
mod variants;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, ScalarKind, StorageAccess, TypeInner};
use shader::Shader;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=shared");
    let mut files = BTreeMap::new();
    for folder in ["", "shared/"] {
        for entry in fs::read_dir(Path::new(".").join(folder))? {
            let name = entry?.file_name().into_string().map_err(|name| format!("{name:?} is no text"))?;
            if name.ends_with(".wgsl") {
                println!("cargo::rerun-if-changed={folder}{name}");
                files.insert(format!("{folder}{name}"), fs::read_to_string(format!("{folder}{name}"))?);
            }
        }
    }
    println!("cargo::rerun-if-changed=.");

    let mut interfaces: BTreeMap<&str, Interface> = BTreeMap::new();
    for file in files.keys().filter(|file| !file.contains('/')) {
        // `Shader::kernel` is a `&'static str`.
        let kernel: &'static str = file.trim_end_matches(".wgsl").to_string().leak();
        for shader in variants::variants(kernel) {
            let interface = examine(&shader, &files).map_err(|error| format!("{}: {error}", shader.label()))?;
            let known = interfaces.entry(kernel).or_insert_with(|| interface.clone());
            known.merge(interface).map_err(|error| format!("{}: {error}", shader.label()))?;
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo gives OUT_DIR")?);
    fs::write(out.join("kernels.rs"), generated(&files, &interfaces)?)?;
    Ok(())
}

/// The parameters and bindings of a kernel.
#[derive(Clone, Debug, Default)]
struct Interface {
    /// The name and type of each word.
    params: Vec<(String, &'static str)>,
    /// The name of each binding, and true if it is written, by binding number.
    bindings: BTreeMap<u32, (String, bool)>,
}

impl Interface {
    /// Adds the interface of another variant. In all variants, a number has one name and a name has one number.
    fn merge(&mut self, other: Interface) -> Result<(), String> {
        if self.params != other.params {
            return Err("its Params differ from those of another variant".to_string());
        }
        for (number, binding) in other.bindings {
            let known = self.bindings.entry(number).or_insert_with(|| binding.clone());
            if *known != binding {
                return Err(format!("binding {number} is {binding:?} here, {known:?} in another variant"));
            }
        }
        Ok(())
    }
}

/// Composes and validates a variant, and returns its interface.
fn examine(shader: &Shader, files: &BTreeMap<String, String>) -> Result<Interface, Box<dyn Error>> {
    let text = shader.compose_from(&|name| files.get(name).map(String::as_str))?;
    let numbered = || (1..).zip(text.lines()).fold(String::new(), |all, (n, line)| all + &format!("{n:4} {line}\n"));
    let module = naga::front::wgsl::parse_str(&text)
        .map_err(|error| format!("{}\n{}", numbered(), error.emit_to_string(&text)))?;
    // Only core WGSL is allowed, except for the features that a flag requests.
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SHADER_FLOAT16, shader.flags.contains("f16"));
    // Needed to unpack two half-precision values from a word. Every device supports it, except some WebGL ones.
    capabilities.set(Capabilities::SHADER_FLOAT16_IN_FLOAT32, shader.flags.contains("half"));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| format!("{}\n{}", numbered(), error.emit_to_string(&text)))?;
    let [entry] = module.entry_points.as_slice() else {
        return Err("want one entry point".into());
    };
    if entry.name != "main" {
        return Err(format!("the entry point is {:?}, want \"main\"", entry.name).into());
    }

    let mut interface = Interface::default();
    for (handle, variable) in module.global_variables.iter() {
        let name = variable.name.clone().unwrap_or_default();
        let number = variable.binding.as_ref().map(|binding| binding.binding);
        if number.is_some() && info.get_entry_point(0)[handle].is_empty() {
            return Err(format!("{name} is bound and not used").into());
        }
        match (variable.space, number) {
            (AddressSpace::Uniform, Some(0)) => {
                let TypeInner::Struct { members, .. } = &module.types[variable.ty].inner else {
                    return Err("the parameters are no struct".into());
                };
                for (place, member) in (0u32..).zip(members) {
                    if member.offset != 4 * place {
                        return Err(format!("{:?} does not follow the field before it", member.name).into());
                    }
                    let kind = match &module.types[member.ty].inner {
                        TypeInner::Scalar(scalar) if scalar.kind == ScalarKind::Sint => "i32",
                        TypeInner::Scalar(scalar) if scalar.kind == ScalarKind::Uint => "u32",
                        TypeInner::Scalar(scalar) if scalar.kind == ScalarKind::Float => "f32",
                        other => return Err(format!("{:?} is a {other:?}", member.name).into()),
                    };
                    interface.params.push((member.name.clone().unwrap_or_default(), kind));
                }
            }
            (AddressSpace::Storage { access }, Some(number)) => {
                let written = access.contains(StorageAccess::STORE);
                interface.bindings.insert(number, (name, written));
            }
            (_, Some(number)) => return Err(format!("binding {number} is neither parameters nor storage").into()),
            (_, None) => {}
        }
    }
    Ok(interface)
}

/// Returns the Rust source that the library includes.
fn generated(
    files: &BTreeMap<String, String>,
    interfaces: &BTreeMap<&str, Interface>,
) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    writeln!(out, "/// The files that variants are composed of, by name.")?;
    writeln!(out, "static FILES: &[(&str, &str)] = &[")?;
    let root = env::var("CARGO_MANIFEST_DIR")?;
    for file in files.keys() {
        writeln!(out, "    ({file:?}, include_str!({:?})),", Path::new(&root).join(file))?;
    }
    writeln!(out, "];\n\n/// The interface of every kernel.\npub static REFLECTIONS: &[Reflection] = &[")?;
    for (kernel, interface) in interfaces {
        writeln!(out, "    Reflection {{\n        kernel: {kernel:?},\n        bindings: &[")?;
        for (number, (name, written)) in &interface.bindings {
            writeln!(out, "            Binding {{ name: {name:?}, number: {number}, written: {written} }},")?;
        }
        writeln!(out, "        ],\n    }},")?;
    }
    writeln!(out, "];\n")?;
    writeln!(out, "/// The parameters of every kernel, as its shader lays them out.")?;
    writeln!(out, "#[allow(missing_docs)]\npub mod params {{")?;
    for (kernel, interface) in interfaces {
        writeln!(out, "    #[repr(C)]")?;
        writeln!(out, "    #[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]")?;
        writeln!(out, "    pub struct {} {{", type_name(kernel))?;
        for (name, kind) in &interface.params {
            writeln!(out, "        pub {name}: {kind},")?;
        }
        writeln!(out, "    }}")?;
    }
    writeln!(out, "}}")?;
    Ok(out)
}

/// Converts a kernel's name to a type's: `to_rgba8` to `ToRgba8`.
fn type_name(kernel: &str) -> String {
    let capitalised = |word: &str| word[..1].to_uppercase() + &word[1..];
    kernel.split('_').map(capitalised).collect()
}
