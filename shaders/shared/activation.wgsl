// The activations of loads and stores. A kernel passes an override constant as the kind, so that the compiler removes
// the other cases.
const IDENTITY = ${IDENTITY}u;
const RELU = ${RELU}u;
const SILU = ${SILU}u;
const GELU = ${GELU}u;

// Applies an activation to one value. The compiler removes the unused lanes.
fn activate(kind: u32, x: f32) -> f32 {
    return activate4(kind, vec4(x)).x;
}

fn activate4(kind: u32, x: vec4<f32>) -> vec4<f32> {
    switch kind {
        case RELU: {
            return relu4(x);
        }
        case SILU: {
            // The exponent is clamped: a driver may assume that infinities do not exist, and division is only accurate
            // for divisors up to 2^126. If it is clamped, the result is below 1e-30.
            return x / (1.0 + exp(min(-x, vec4(80.0))));
        }
        case GELU: {
            return gelu4(x);
        }
        default: {
            return x;
        }
    }
}

// Keeps NaN. A maximum would lose it, and so might a comparison of floats, which a driver that assumes that there is
// no NaN can turn into a maximum. The test covers the bits of the floats from -0 to -infinity.
fn relu4(x: vec4<f32>) -> vec4<f32> {
    let negative = bitcast<vec4<u32>>(x) - vec4(0x80000000u) <= vec4(0x7f800000u);
    return select(x, vec4(0.0), negative);
}

// x Phi(x) = max(x, 0) - |x| Phi(-|x|), where Phi(-a) = exp(-a P(a)) / 2. P is minimax for a from 0 to 6 and rises
// beyond: the absolute error of Phi is 8e-9. a is clamped where Phi is 1e-35.
fn gelu4(x: vec4<f32>) -> vec4<f32> {
    let a = min(abs(x), vec4(10.0));
    var p = -2.729453e-5 + a * 1.9650115e-6;
    p = 1.2905028e-4 + a * p;
    p = 9.491714e-5 + a * p;
    p = -4.89599e-3 + a * p;
    p = 3.6387578e-2 + a * p;
    p = 0.31829888 + a * p;
    p = 0.7978853 + a * p;
    return relu4(x) - 0.5 * abs(x) * exp(-a * p);
}
