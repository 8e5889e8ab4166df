//! Tests that every variant translates to the language of every backend, whatever its override constants are.
//!
//! With `PERCEPT_SHADER_OUT=DIR`, the translations and the WGSL are written there for checkers other than naga:
//! one file for each variant, set of constants and language. `.ci/shaders` runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use naga::back::{PipelineConstants, glsl, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};
use percept_shaders::{Shader, variants};

/// Returns the smallest value of an override constant that is tested. The next larger value is tested, too.
fn least(constant: &str) -> f64 {
    match constant {
        // Sizes are divided by these.
        "TILE" | "UPSAMPLE" => 1.0,
        _ => 0.0,
    }
}

/// The values of override constants, by their names.
type Constants = BTreeMap<String, f64>;

/// Parses and validates a variant with naga, before its constants are set.
fn validated(shader: &Shader, source: &str) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SHADER_FLOAT16, shader.flags.contains("f16"));
    capabilities.set(Capabilities::SHADER_FLOAT16_IN_FLOAT32, shader.flags.contains("half"));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| error.emit_to_string(source))?;
    Ok((module, info))
}

/// Returns the sets of constants to test: all at their smallest value, and all one above; or one empty set if
/// there are no constants.
fn constants(module: &Module) -> Vec<Constants> {
    let unset: Vec<String> = module
        .overrides
        .iter()
        .filter(|(_, constant)| constant.init.is_none())
        .map(|(_, constant)| constant.name.clone().expect("constants are set by their names"))
        .collect();
    let sets: &[f64] = if unset.is_empty() { &[0.0] } else { &[0.0, 1.0] };
    sets.iter().map(|above| unset.iter().map(|name| (name.clone(), least(name) + above)).collect()).collect()
}

/// Formats an error with its causes.
fn chain(error: &dyn Error) -> String {
    error.source().map_or(error.to_string(), |source| format!("{error}: {}", chain(source)))
}

/// Returns the translations, each with the extension of its file. Like the executor they add no bounds checks,
/// and leave loops and workgroup memory unchanged.
fn translations(module: &Module, info: &ModuleInfo) -> [(&'static str, Result<Vec<u8>, String>); 4] {
    let spirv = {
        let options = spv::Options {
            lang_version: (1, 3),
            bounds_check_policies: BoundsCheckPolicies::default(),
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            ..Default::default()
        };
        spv::write_vec(module, info, &options, None)
            .map(|words| words.iter().flat_map(|word| word.to_le_bytes()).collect())
            .map_err(|error| chain(&error))
    };
    let metal = {
        let options = msl::Options {
            lang_version: (2, 4),
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            ..Default::default()
        };
        msl::write_string(module, info, &options, &msl::PipelineOptions::default())
            .map(|(text, _)| text.into_bytes())
            .map_err(|error| chain(&error))
    };
    let hlsl = {
        let options = hlsl::Options {
            shader_model: hlsl::ShaderModel::V6_2,
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            restrict_indexing: false,
            ..Default::default()
        };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(module, info, None)
            .map(|_| ())
            .map_err(|error| chain(&error))
            .map(|()| text.into_bytes())
    };
    let glsl = {
        let options = glsl::Options {
            version: glsl::Version::new_gles(310),
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        };
        let pipeline = glsl::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: "main".to_string(),
            multiview: None,
        };
        let mut text = String::new();
        glsl::Writer::new(&mut text, module, info, &options, &pipeline, BoundsCheckPolicies::default())
            .and_then(|mut writer| writer.write())
            .map(|_| ())
            .map_err(|error| chain(&error))
            .map(|()| text.into_bytes())
    };
    [("spv", spirv), ("metal", metal), ("hlsl", hlsl), ("comp", glsl)]
}

/// Returns the files of a variant by their names, one for each set of constants and language.
fn files(shader: &Shader) -> Result<Vec<(String, Vec<u8>)>, String> {
    let source = shader.source().map_err(|error| error.to_string())?;
    let (module, info) = validated(shader, &source)?;
    let mut files = Vec::new();
    for (set, constants) in constants(&module).into_iter().enumerate() {
        let stem = format!("{}.{set}", shader.label().replace(' ', ".").replace('=', ""));
        // The first line tells a checker of WGSL the values of the constants.
        let json = serde_json::to_string(&constants).map_err(|error| error.to_string())?;
        // Outside of naga, subgroups must be enabled by a directive that naga refuses, and no software adapter
        // for Dawn has the f16 feature.
        if !shader.flags.contains("f16") {
            files.push((format!("{stem}.wgsl"), format!("// {json}\n{source}").into_bytes()));
        }
        let constants = PipelineConstants::from_iter(constants);
        let (module, info) = process_overrides(&module, &info, None, &constants)
            .map_err(|error| format!("{stem}: {}", chain(&error)))?;
        for (extension, translation) in translations(&module, &info) {
            if extension == "comp" && shader.flags.contains("f16") {
                // wgpu's GL backend has neither, and never gets these variants.
                continue;
            }
            let name = format!("{stem}.{extension}");
            let text = translation.map_err(|error| format!("{name}: {error}"))?;
            files.push((name, text));
        }
    }
    Ok(files)
}

#[test]
fn every_variant_translates_for_every_backend() {
    let out = env::var_os("PERCEPT_SHADER_OUT").map(PathBuf::from);
    if let Some(out) = &out {
        fs::create_dir_all(out).expect("the folder of PERCEPT_SHADER_OUT");
    }
    let (mut failures, mut names) = (Vec::new(), BTreeSet::new());
    for shader in variants() {
        match files(&shader) {
            Ok(files) => {
                assert!(files.len() >= 3, "{} languages of {}", files.len(), shader.label());
                for (name, text) in files {
                    assert!(!text.is_empty(), "{name} is empty");
                    // glslang's HLSL lacks typed loads, which half precision uses.
                    let is_unknown = name.ends_with(".hlsl") && shader.flags.contains("f16");
                    if let Some(out) = out.as_ref().filter(|_| !is_unknown) {
                        fs::write(out.join(&name), text).expect("a folder that can be written to");
                    }
                    assert!(names.insert(name.clone()), "two variants have the file {name}");
                }
            }
            Err(error) => failures.push(format!("{}: {error}", shader.label())),
        }
    }
    assert!(failures.is_empty(), "{} variants fail:\n{}", failures.len(), failures.join("\n"));
    assert!(!names.is_empty());
}
