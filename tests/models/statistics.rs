//! Tests the statistics for group norms: the convolution that computes a value gathers them, and only if an op
//! reads them.

use std::collections::{BTreeMap, BTreeSet};

use percept::kernels::Kernel;
use percept::models::{self, UnetConfig};
use percept::program::{Graph, Program, ValueId};
use percept::weights::tensors_of;
use serde_json::json;

/// Builds a UNet without loading weights.
fn unet(flags: &serde_json::Value) -> Program {
    let config = UnetConfig::from_json(&flags.to_string()).expect("a configuration");
    let mut g = Graph::new();
    tensors_of(|scope| {
        let x = g.input("x", [2, config.image_size, config.image_size, 3]);
        let time = g.input("time", [2, config.num_channels]);
        let feat = (config.ssl_dim > 0).then(|| g.input("feat", [2, config.ssl_dim]));
        let condition = models::condition(&mut g, &config, scope, feat, None)?;
        let output = models::unet(&mut g, &config, scope, x, time, &condition)?;
        g.output("output", output);
        Ok(())
    })
    .expect("a unet");
    g.finish().expect("a program")
}

/// Returns UNets with every combination of flags that affects which op follows a convolution.
fn every_unet() -> Vec<(serde_json::Value, Program)> {
    let mut unets = Vec::new();
    for (conditioning, ssl_dim) in [("none", 0), ("time_embedding", 16), ("cbn", 16)] {
        for resblock_updown in [false, true] {
            for num_res_blocks in [0, 1, 2] {
                for attention_resolutions in ["64", "16,8", "8"] {
                    let flags = json!({
                        "image_size": 16, "num_channels": 32, "num_res_blocks": num_res_blocks, "num_heads": 1,
                        "channel_mult": "1,2", "attention_resolutions": attention_resolutions,
                        "resblock_updown": resblock_updown, "conditioning": conditioning, "ssl_dim": ssl_dim,
                    });
                    let program = unet(&flags);
                    unets.push((flags, program));
                }
            }
        }
    }
    unets
}

#[test]
fn nothing_is_written_that_nothing_reads() {
    for (flags, program) in every_unet() {
        let outputs = program.outputs().iter().map(|(_, id)| *id);
        let read: BTreeSet<ValueId> = program.ops().iter().flat_map(|op| op.reads.clone()).chain(outputs).collect();
        for op in program.ops() {
            let unread = op.writes.iter().filter(|id| !read.contains(id)).count();
            assert_eq!(unread, 0, "{flags}: {} {:?}", op.layer, op.kernel);
        }
    }
}

#[test]
fn group_norms_read_what_convolutions_gathered() {
    for (flags, program) in every_unet() {
        let made_by: BTreeMap<ValueId, &Kernel> =
            program.ops().iter().flat_map(|op| op.writes.iter().map(|id| (*id, &op.kernel))).collect();
        let (mut of_convolutions, mut of_values) = (0, 0);
        for op in program.ops() {
            let Kernel::GroupAffine(norm) = &op.kernel else { continue };
            let sources = if norm.channels[1] > 0 { 2 } else { 1 };
            for stats in &op.reads[..sources] {
                match made_by[stats] {
                    Kernel::Conv(conv) => {
                        assert_eq!(conv.stats, Some(norm.tile), "{flags}: {}", op.layer);
                        of_convolutions += 1;
                    }
                    Kernel::ChannelStats(_) => of_values += 1,
                    other => panic!("{flags}: {} reads statistics of {other:?}", op.layer),
                }
            }
        }
        // Conditional norms need no statistics, so only the norms of attention and the last one are left.
        if flags["conditioning"] == "cbn" {
            assert_eq!(of_convolutions, 0, "{flags}");
            assert!(of_values > 0, "{flags}");
        } else {
            assert_eq!(of_values, 0, "{flags}");
            assert!(of_convolutions > 0, "{flags}");
        }
    }
}
