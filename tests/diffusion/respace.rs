use percept::diffusion::{Method, space_timesteps};

/// Cases: the steps of the process, the respacing, and the length and a hash of the result of
/// guided-diffusion's `space_timesteps`. The hash is `h = 31 h + t + 1 (mod 2^32)` over the sorted timesteps.
#[rustfmt::skip]
const CASES: &[(usize, &str, usize, u32)] = &[
    (1000, "1", 1, 1),
    (1000, "2", 2, 1031),
    (1000, "3", 3, 17492),
    (1000, "10", 10, 1794378443),
    (1000, "25", 25, 214346996),
    (1000, "50", 50, 2315918683),
    (1000, "100", 100, 715676568),
    (1000, "250", 250, 3939363189),
    (1000, "500", 500, 325550292),
    (1000, "999", 999, 2093997781),
    (1000, "1000", 1000, 262015092),
    (1000, "ddim2", 2, 532),
    (1000, "ddim10", 10, 4274016916),
    (1000, "ddim25", 25, 2531671137),
    (1000, "ddim50", 50, 540173588),
    (1000, "ddim100", 100, 2357045300),
    (1000, "ddim250", 250, 3911795092),
    (1000, "ddim500", 500, 1674223924),
    (1000, "ddim1000", 1000, 262015092),
    (1000, "ddim3", 3, 12015),
    (1000, "ddim334", 334, 730344149),
    (1000, "10,10,15,5", 40, 981580015),
    (1000, "1,1,1", 3, 12014),
    (1000, "0,10", 10, 1084420979),
    (1000, "10,0", 10, 3832150771),
    (1000, "5,-3,5", 10, 2625126427),
    (1000, "334,333,333", 1000, 262015092),
    (1000, " 25", 25, 214346996),
    (1000, " 10 , 20 ", 30, 3831204311),
    (1000, "+7", 7, 1697653717),
    (1000, "1_0", 10, 1794378443),
    (1000, "007", 7, 1697653717),
    (1000, "ddim 25", 25, 2531671137),
    (1000, "ddim+25", 25, 2531671137),
    (1000, "ddim1_00", 100, 2357045300),
    (400, "ddim50", 50, 3502908392),
    (400, "ddim8", 8, 2798092616),
    (4000, "100", 100, 1892469922),
    (4000, "7,11,13", 31, 3530373969),
    (300, "10,15,20", 45, 3275086804),
    (11, "3,3,3", 9, 2825881670),
    (11, "4,4,3", 11, 3974904838),
    (7, "6", 6, 30570564),
    (6, "4", 4, 32804),
    (10, "7", 7, 977241189),
    (2, "ddim2", 2, 33),
    (1, "1", 1, 1),
    (3, "1,1,1,0", 3, 1026),
    (2, "1,1,0", 2, 33),
];

fn hash(timesteps: &[usize]) -> u32 {
    timesteps.iter().fold(0u32, |hash, &t| hash.wrapping_mul(31).wrapping_add(t as u32 + 1))
}

#[test]
fn timesteps_are_guided_diffusions() {
    for &(steps, respacing, len, want) in CASES {
        let timesteps = space_timesteps(steps, respacing).expect("timesteps");
        assert_eq!((timesteps.len(), hash(&timesteps)), (len, want), "{respacing:?} of {steps}: {timesteps:?}");
        assert!(timesteps.is_sorted_by(|a, b| a < b) && timesteps[len - 1] < steps, "{respacing:?} of {steps}");
    }
}

#[test]
fn short_ones_are_what_they_should_be() {
    let cases: &[(usize, &str, &[usize])] = &[
        (5, "", &[0, 1, 2, 3, 4]),
        (1, "", &[0]),
        (1000, "ddim4", &[0, 250, 500, 750]),
        (1000, "4", &[0, 333, 666, 999]),
        // Halves are rounded to the even neighbour: 0, 2.5, 5, 7.5, 10.
        (11, "5", &[0, 2, 5, 8, 10]),
        // Sections of 4, 3 and 3.
        (10, "2,1,2", &[0, 3, 4, 7, 9]),
        (10, "0,2", &[5, 9]),
    ];
    for &(steps, respacing, want) in cases {
        assert_eq!(space_timesteps(steps, respacing).expect("timesteps"), want, "{respacing:?} of {steps}");
    }
}

#[test]
fn what_cannot_be_done_is_said_with_what_can() {
    let cases = [
        (
            1000,
            "ddim300",
            "a number of steps that an integer stride over 1000 steps gives, the nearest being ddim250 and \
             ddim334 (or \"300\", whose stride need not be an integer), got \"ddim300\"",
        ),
        (1000, "ddim1001", "at most ddim1000, all steps there are, got \"ddim1001\""),
        (1000, "ddim99999999999999999999", "at most ddim1000, all steps there are, got \"ddim99999999999999999999\""),
        (1000, "ddim1", "at least ddim2, got \"ddim1\""),
        (1000, "ddim-2", "at least ddim2, got \"ddim-2\""),
        (1, "ddim1", "\"\" or \"1\", the process having one step, got \"ddim1\""),
        (1000, "ddim", "\"ddim\" and the number of steps, as in \"ddim25\", got \"ddim\""),
        (1000, "ddim2.5", "\"ddim\" and the number of steps, as in \"ddim25\", got \"ddim2.5\""),
        (100, "101", "at most 100 steps in section 1 of 1 over 100 steps, got 101 in \"101\""),
        (100, "10,34,9", "at most 33 steps in section 2 of 3 over 100 steps, got 34 in \"10,34,9\""),
        (2, "1,1,1", "at most 0 steps in section 3 of 3 over 2 steps, got 1 in \"1,1,1\""),
        (100, "0", "at least one step, got \"0\""),
        (100, "-3", "at least one step, got \"-3\""),
    ];
    for (steps, respacing, want) in cases {
        let error = space_timesteps(steps, respacing).expect_err(respacing);
        assert_eq!(error.to_string(), format!("timestep_respacing: expected {want}"));
    }
    for respacing in [" ", "a", "2,", ",2", "1__0", "_1", "1_", "+", "-", "+ 1", "1 0", "1e2", "0x10", "2.0", "DDIM25"]
    {
        let error = space_timesteps(1000, respacing).expect_err(respacing);
        assert_eq!(
            error.to_string(),
            format!(
                "timestep_respacing: expected \"\", \"ddimN\", or numbers of steps with commas between them, got {respacing:?}"
            )
        );
    }
    let error = space_timesteps(0, "").expect_err("no steps");
    assert_eq!(error.to_string(), "diffusion_steps: expected between 1 and 1000000 steps, got 0");
}

#[test]
fn every_number_of_steps_makes_a_method() {
    for diffusion_steps in [1, 24, 1000] {
        for count in 1..=diffusion_steps.min(120) {
            for method in [Method::ddpm(count), Method::ddim(count)] {
                let respacing = method.respacing(diffusion_steps);
                let timesteps = space_timesteps(diffusion_steps, &respacing).expect("timesteps");
                assert_eq!(timesteps.len(), count, "{method:?} of {diffusion_steps}: {respacing}");
            }
        }
    }
    // DDIM's stride is an integer if possible.
    let of = |count| Method::ddim(count).respacing(1000);
    assert_eq!([of(1), of(25), of(50), of(51), of(60), of(100)], ["1", "ddim25", "ddim50", "51", "60", "ddim100"]);
    assert_eq!(Method::ddpm(25).respacing(1000), "25");
}
