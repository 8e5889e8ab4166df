//! Tests upsamplers: the small image that they need, which is enlarged once for all steps.

use percept::models::{Condition, UnetConfig, condition, unet};
use percept::program::{Graph, ValueId};
use percept::weights::tensors_of;
use percept::{Error, Result};

const UPSAMPLER: &str = r#"{"small_size": 16, "large_size": 32, "num_channels": 32, "channel_mult": "1,2"}"#;
const UNET: &str = r#"{"image_size": 32, "num_channels": 32, "channel_mult": "1,2"}"#;

/// Builds a UNet with a small image of this shape, or without one.
fn build(json: &str, low_res: Option<[usize; 4]>) -> Result<()> {
    let config = UnetConfig::from_json(json)?;
    let mut g = Graph::new();
    let tensors = tensors_of(|scope| {
        let (x, time) = (g.input("x", [2, 32, 32, 3]), g.input("time", [2, 32]));
        let low_res: Option<ValueId> = low_res.map(|shape| g.input("low_res", shape));
        let mut conditioned: Condition = condition(&mut g, &config, scope, None, None)?;
        if let Some(low_res) = low_res {
            conditioned = conditioned.with_low_res(&mut g, &config, low_res)?;
        }
        g.begin_body();
        let output = unet(&mut g, &config, scope, x, time, &conditioned)?;
        g.output("output", output);
        Ok(())
    })?;
    assert_eq!(tensors["input_blocks.0.0.weight"][1], if low_res.is_some() { 6 } else { 3 });
    let program = g.finish()?;
    let is_in_prologue = |(at, op): (usize, &percept::program::Op)| {
        (op.kernel.name() == "resize_bilinear").then_some(at < program.body().start)
    };
    let resized: Vec<bool> = program.ops().iter().enumerate().filter_map(is_in_prologue).collect();
    assert_eq!(resized, if low_res.is_some() { vec![true] } else { Vec::new() });
    Ok(())
}

#[test]
fn the_small_image_is_enlarged_once_for_all_steps() {
    build(UPSAMPLER, Some([2, 16, 16, 3])).expect("an upsampler");
    build(UNET, None).expect("a unet");
}

#[test]
fn a_small_image_is_there_exactly_for_an_upsampler() {
    for (json, low_res, got) in [(UPSAMPLER, None, "none"), (UNET, Some([2, 16, 16, 3]), "one")] {
        match build(json, low_res) {
            Err(Error::Config(told)) => assert_eq!((told.at.as_str(), told.got.as_str()), ("low_res of a unet", got)),
            other => panic!("{json}: {other:?}"),
        }
    }
}

#[test]
fn a_small_image_of_another_shape_is_refused() {
    for shape in [[2, 15, 16, 3], [2, 16, 32, 3], [2, 16, 16, 1]] {
        match build(UPSAMPLER, Some(shape)) {
            Err(Error::Shape(told)) => {
                assert_eq!(told.at, "low_res of an upsampler");
                assert!(told.expected.contains("16x16 pixels of 3 channels"), "{told:?}");
            }
            other => panic!("{shape:?}: {other:?}"),
        }
    }
    // Its batch is not that of x.
    assert!(matches!(build(UPSAMPLER, Some([1, 16, 16, 3])), Err(Error::Shape(_))));
}
