//! Tests the planner against live ranges from the textbook's backward analysis, over a loop that never ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use percept::program::{Op, Program, Role, ValueId};
use percept::{Device, Method};

use crate::models::{every_program, golden};

fn ids(program: &Program) -> impl Iterator<Item = ValueId> {
    let ops = program.ops().iter().flat_map(|op| op.reads.iter().chain(&op.writes));
    ops.copied().collect::<BTreeSet<_>>().into_iter()
}

fn is_weight(program: &Program, id: ValueId) -> bool {
    matches!(program.value(id).role, Role::Weight(_))
}

/// Returns the values that the host or the next step may read or write at any time.
fn always_live(program: &Program) -> BTreeSet<ValueId> {
    let carried = program.carries().iter().flat_map(|carry| [Some(carry.held), Some(carry.next), carry.start]);
    let outputs = program.outputs().iter().map(|(_, id)| *id);
    let inputs = ids(program).filter(|id| program.value(*id).role == Role::Input);
    carried.flatten().chain(outputs).chain(inputs).collect()
}

/// Returns for each op the values that need separate memory while it runs: those that it reads and writes, and
/// those that any later op still reads, in this or the next round of the loop.
fn live(program: &Program) -> Vec<BTreeSet<ValueId>> {
    let always = always_live(program);
    let mut sets = vec![BTreeSet::new(); program.ops().len()];
    let mut backward = |ops: Range<usize>, after: &BTreeSet<ValueId>| {
        let mut live = after.clone();
        for index in ops.rev() {
            let op = &program.ops()[index];
            live.extend(op.reads.iter().chain(&op.writes).filter(|id| !is_weight(program, **id)));
            sets[index] = live.clone();
            live.retain(|id| always.contains(id) || !op.writes.contains(id));
        }
        live
    };
    let mut after_body = always.clone();
    loop {
        let before = backward(program.body(), &after_body);
        if before.is_subset(&after_body) {
            break;
        }
        after_body.extend(before);
    }
    // The prologue computes the values that the body reads from it. Any other value that lives before the first
    // op would be read before it is written.
    assert_eq!(backward(program.prologue(), &after_body), always, "a value is read before it is written");
    sets
}

/// Describes values that live at the same time in one slot, or that have no slot.
fn clashes(program: &Program, slot: impl Fn(ValueId) -> Option<usize>) -> Vec<String> {
    let mut clashes = Vec::new();
    for (index, (op, live)) in program.ops().iter().zip(live(program)).enumerate() {
        let mut holders: BTreeMap<Option<usize>, ValueId> = BTreeMap::new();
        for id in live {
            let slot = slot(id);
            let other = holders.insert(slot, id);
            if other.is_some() || slot.is_none() {
                clashes.push(format!("op {index}, {}: {id:?} and {other:?} in slot {slot:?}", op.layer));
            }
        }
    }
    clashes
}

fn op<'a>(program: &'a Program, layer: &str) -> &'a Op {
    program.ops().iter().find(|op| op.layer == layer).unwrap_or_else(|| panic!("no layer {layer}"))
}

#[test]
fn values_that_live_at_once_share_no_slot() {
    for (name, _, program) in every_program() {
        let plan = program.plan();
        assert_eq!(clashes(&program, |id| plan.slot(id)), [""; 0], "{name}");
        for id in ids(&program) {
            let slot = plan.slot(id);
            assert_eq!(slot.is_none(), is_weight(&program, id), "{name}: {id:?}");
            let bytes = program.value(id).bytes();
            assert!(slot.is_none_or(|slot| plan.slot_bytes()[slot] >= bytes), "{name}: {id:?} in {slot:?}");
        }
    }
}

/// The analysis must detect wrong plans. Each of these puts a value into the slot of another.
#[test]
fn wrong_plans_clash() {
    let model = golden("unet_rcdm_32");
    let (unet, sampling) = (model.unet(1), model.sampling(&Method::ddim(5), 1).program());
    let wrong = |program: &Program, moved: ValueId, to: ValueId| {
        clashes(program, |id| program.plan().slot(if id == moved { to } else { id }))
    };
    // In place: the op would write over its input.
    let conv = op(&unet, "input_blocks.1.0.in_layers.2");
    assert!(!wrong(&unet, conv.writes[0], conv.reads[0]).is_empty());
    // The output blocks still need a skip connection while the middle block runs.
    let (kept, middle) = (op(&unet, "input_blocks.0.0").writes[0], op(&unet, "middle_block.1.attention").writes[0]);
    assert!(!wrong(&unet, middle, kept).is_empty());
    // The body reads the prologue's result before it writes its own, and it does so again in the next step.
    let (condition, last) = (op(&sampling, "ssl_emb").writes[0], op(&sampling, "out.2").writes[0]);
    assert!(!wrong(&sampling, last, condition).is_empty());
}

#[test]
fn sharing_slots_saves_memory() {
    // The plan's memory, in percent of one slot per value.
    let at_most = [
        ("resnet with taps", 85),
        ("resnet", 70),
        ("resnet18", 45),
        ("resnet50", 25),
        ("vit with taps", 35),
        ("vit", 35),
        ("unet", 35),
        ("unet, no FiLM, classes", 30),
        ("unet, conditional norms", 30),
        ("upsampler", 35),
        ("classifier", 40),
        ("ddpm", 35),
        ("ddim", 30),
        ("ddim, conditional norms", 30),
    ];
    let programs = every_program();
    assert_eq!(programs.len(), at_most.len());
    for ((name, _, program), (of, percent)) in programs.iter().zip(at_most) {
        assert_eq!(*name, of);
        let bytes = |id: ValueId| program.value(id).bytes();
        let one_each: usize = ids(program).filter(|id| !is_weight(program, *id)).map(bytes).sum();
        let at_once = live(program).into_iter().map(|live| live.into_iter().map(bytes).sum::<usize>()).max();
        let planned = program.memory().activations;
        let (share, least) = (100.0 * planned as f64 / one_each as f64, at_once.expect("an op"));
        println!("{name}: {planned} bytes, {share:.0} % of one slot per value, {least} live at once");
        assert!(share <= f64::from(percent), "{name}: {share:.0} %");
        // No plan can use less memory than the values that live at once; less would mean that values are
        // missing.
        assert!(planned >= least, "{name}");
    }
}

#[test]
fn memory_is_what_executors_hold() {
    for (name, model, program) in every_program() {
        let known = program.memory();
        let values = || program.values().iter();
        let weights: usize =
            values().filter(|v| matches!(v.role, Role::Weight(_))).map(|v| v.shape.elements() * 4).sum();
        assert_eq!((known.weights, known.scratch), (weights, 0), "{name}");
        assert_eq!(known.activations, program.plan().slot_bytes().iter().sum::<usize>(), "{name}");

        let held = |device: &Device| {
            let executor = device.load(program.clone(), model.weights.as_ref()).expect("an executor");
            // The figure is known before anything is loaded.
            assert_eq!(device.memory(&program).expect("a figure"), executor.memory(), "{name}, {}", device.name());
            executor.memory()
        };
        assert_eq!(held(&Device::reference()), known, "{name}");
        let cpu = held(&Device::cpu().expect("a CPU"));
        assert_eq!(cpu.activations, known.activations, "{name}");
        assert!(cpu.scratch > 0, "{name}");
        // The CPU's matrices are padded to whole vectors of columns.
        println!("{name}: cpu {cpu:?}, program {known:?}");
        assert!(cpu.weights >= known.weights && cpu.weights as f64 <= 1.2 * known.weights as f64, "{name}: {cpu:?}");
    }
}
