//! Tests carries, the values that one step hands to the next, on every executor.

use std::sync::Arc;

use percept::Device;
use percept::Result;
use percept::device::Executor;
use percept::device::gpu::Gpu;
use percept::kernels::{Activation, Advance, Dense};
use percept::program::{Graph, Program, ValueId};
use percept::weights::{Factor, Part, Recipe, Source, Synthetic, Term};

/// Calls a test with an executor of each device.
fn on_each(program: Program, test: impl Fn(&mut dyn Executor)) {
    let program = Arc::new(program);
    let nothing = Synthetic::new(Default::default());
    let gpu = percept_tests::adapters().first().map(|adapter| Gpu::open(adapter).expect("a device"));
    for device in [Device::reference(), Device::cpu().expect("a CPU")].into_iter().chain(gpu.map(Device::from)) {
        test(device.load(program.clone(), &nothing).expect("an executor").as_mut());
    }
}

/// Adds `x`, or `x + y`, to the graph.
fn sum(g: &mut Graph, x: ValueId, y: Option<ValueId>) -> Result<ValueId> {
    let ones = Part { columns: 1, terms: vec![Term { source: Source::Ones, factor: Factor::One }] };
    let one = g.weight(Recipe::Matrix { depth: 1, parts: vec![ones] });
    let [rows, in_features, out_features] = [1; 3];
    let (bias, residual, activation) = (false, y.is_some(), Activation::Identity);
    let dense = Dense { rows, in_features, out_features, bias, residual, activation };
    g.op1("sum", dense, &[Some(x), Some(one), y].into_iter().flatten().collect::<Vec<_>>())
}

/// Builds a program whose steps replace (a, b) by (b, a + b). The prologue starts a with origin + origin, and
/// the host writes b.
fn fibonacci() -> Result<Program> {
    let mut g = Graph::new();
    let [origin, a, b] = ["origin", "a", "b"].map(|name| g.input(name, [1, 1]));
    let start = sum(&mut g, origin, Some(origin))?;
    g.begin_body();
    let next_a = sum(&mut g, b, None)?;
    let next_b = sum(&mut g, a, Some(b))?;
    g.carry(a, next_a, Some(start))?;
    g.carry(b, next_b, None)?;
    g.output("a", next_a);
    g.output("b", next_b);
    g.finish()
}

#[test]
fn a_step_reads_what_the_one_before_it_wrote() {
    on_each(fibonacci().expect("a program"), |executor| {
        let program = executor.program().clone();
        // The second run starts from the beginning, not from the end of the first.
        for (origin, b, want) in
            [(0.0, 1.0, [1.0, 1.0, 2.0, 3.0, 5.0, 8.0]), (1.5, 1.0, [1.0, 4.0, 5.0, 9.0, 14.0, 23.0])]
        {
            executor.write("origin", &[origin]).expect("an input");
            executor.write("b", &[b]).expect("an input");
            executor.run(program.prologue()).expect("a prologue");
            let mut got = Vec::new();
            for step in 0..6 {
                // Run a whole step at once, or op by op: the last op ends the step.
                if step % 2 == 0 {
                    executor.run(program.body()).expect("a step");
                } else {
                    program.body().for_each(|op| executor.run(op..op + 1).expect("an op"));
                }
                got.push(executor.read("a").expect("an output")[0]);
            }
            assert_eq!(got, want);
            // The last b is the next step's a.
            assert_eq!(executor.read("b").expect("an output")[0], want[4] + want[5]);
        }
    });
}

/// Builds a program whose steps replace x by x + x. Two other ops, which have nothing to do with the carry,
/// read x before and after the step.
fn doubling() -> Result<Program> {
    let mut g = Graph::new();
    let x = g.input("x", [1, 1]);
    g.begin_body();
    let before = sum(&mut g, x, None)?;
    let next = sum(&mut g, x, Some(x))?;
    let after = sum(&mut g, next, None)?;
    g.carry(x, next, None)?;
    g.output("before", before);
    g.output("x", next);
    g.output("after", after);
    g.finish()
}

#[test]
fn ops_find_what_is_carried_in_every_step() {
    on_each(doubling().expect("a program"), |executor| {
        let body = executor.program().body();
        executor.write("x", &[1.0]).expect("an input");
        let mut x = 1.0;
        for step in 0..4 {
            executor.run(body.clone()).expect("a step");
            let got = ["before", "x", "after"].map(|output| executor.read(output).expect("an output")[0]);
            assert_eq!(got, [x, x + x, x + x], "step {step}");
            x += x;
        }
    });
}

/// Builds a program with one counter that the host sets and one that starts with a value from the prologue.
fn counters() -> Result<Program> {
    let mut g = Graph::new();
    let [origin, set, started] = ["origin", "set", "started"].map(|name| g.input_u32(name, [4]));
    let start = g.op1("start", Advance {}, &[origin])?;
    g.begin_body();
    for (name, held, start) in [("set", set, None), ("started", started, Some(start))] {
        let next = g.op1("count", Advance {}, &[held])?;
        g.carry(held, next, start)?;
        g.output(name, next);
    }
    g.finish()
}

#[test]
fn counters_count_and_the_host_can_set_them_between_steps() {
    on_each(counters().expect("a program"), |executor| {
        let program = executor.program().clone();
        let read = |executor: &mut dyn Executor, output: &str| executor.read_u32(output).expect("an output");
        executor.write_u32("origin", &[10, 1, 2, 3]).expect("an input");
        executor.write_u32("set", &[20, 4, 5, 6]).expect("an input");
        executor.run(program.prologue()).expect("a prologue");
        for step in 1..=3 {
            executor.run(program.body()).expect("a step");
            assert_eq!(read(executor, "started"), [11 + step, 1, 2, 3]);
            assert_eq!(read(executor, "set"), [20 + step, 4, 5, 6]);
        }
        executor.write_u32("set", &[70, 0, 0, 1]).expect("an input");
        executor.run(program.body()).expect("a step");
        assert_eq!(read(executor, "set"), [71, 0, 0, 1]);
        assert_eq!(read(executor, "started"), [15, 1, 2, 3]);
    });
}

/// Any value can be an output, including the start of a carry.
#[test]
fn the_start_of_a_carry_can_be_tapped() {
    let build = || -> Result<Program> {
        let mut g = Graph::new();
        let [origin, x] = ["origin", "x"].map(|name| g.input(name, [1, 1]));
        let start = sum(&mut g, origin, Some(origin))?;
        g.begin_body();
        let next = sum(&mut g, x, Some(x))?;
        g.carry(x, next, Some(start))?;
        g.output("start", start);
        g.output("x", next);
        g.finish()
    };
    on_each(build().expect("a program"), |executor| {
        let program = executor.program().clone();
        executor.write("origin", &[1.5]).expect("an input");
        executor.run(program.prologue()).expect("a prologue");
        assert_eq!(executor.read("start").expect("an output"), [3.0]);
        for step in [6.0, 12.0, 24.0] {
            executor.run(program.body()).expect("a step");
            assert_eq!(executor.read("x").expect("an output"), [step]);
            assert_eq!(executor.read("start").expect("an output"), [3.0]);
        }
    });
}

#[test]
fn what_is_written_has_to_fit_the_input_and_what_is_read_the_output() {
    on_each(counters().expect("a program"), |executor| {
        let told = |result: Result<()>| result.expect_err("an error").to_string();
        assert_eq!(told(executor.write_u32("set", &[1, 2, 3])), "set: expected U32 [4], got U32, 3 elements");
        assert_eq!(told(executor.write("set", &[0.0; 4])), "set: expected U32 [4], got F32, 4 elements");
        let unknown = told(executor.write_u32("x", &[0; 4]));
        assert_eq!(unknown, r#"input: expected one of ["origin", "set", "started"], got x"#);
        let unknown = executor.read("origin").expect_err("no output").to_string();
        assert_eq!(unknown, r#"output: expected one of ["set", "started"], got origin"#);
        assert_eq!(executor.read_u32("origin").expect_err("no output").to_string(), unknown);
        let words = executor.read("set").expect_err("words").to_string();
        assert_eq!(words, "set: expected U32 [4], got F32");
    });
    on_each(fibonacci().expect("a program"), |executor| {
        let floats = executor.read_u32("a").expect_err("floats").to_string();
        assert_eq!(floats, "a: expected F32 [1, 1], got U32");
    });
}
