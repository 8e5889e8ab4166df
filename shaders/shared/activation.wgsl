// The activations that loads and stores apply. A kernel passes
// an override constant as the kind, so that the other cases vanish.
const IDENTITY = ${IDENTITY}u;
const RELU = ${RELU}u;
const SILU = ${SILU}u;
const GELU = ${GELU}u;

// Of one value: the lanes that nobody reads vanish.
fn activate(kind: u32, x: f32) -> f32 {
    return activate4(kind, vec4(x)).x;
}

fn activate4(kind: u32, x: vec4<f32>) -> vec4<f32> {
    switch kind {
        case RELU: {
            return relu4(x);
        }
        case SILU: {
            // Clamped, since a driver may assume that there is no infinity, and divides rightly by no more than
            // 2^126. Where it is clamped, the result is below 1e-30.
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

// Keeps NaN: a maximum hides it, and so may a comparison of floats, from which a driver that assumes that
// there is none can make a maximum. As integers, these are the floats from -0 to -infinity.
fn relu4(x: vec4<f32>) -> vec4<f32> {
    let negative = bitcast<vec4<u32>>(x) - vec4(0x80000000u) <= vec4(0x7f800000u);
    return select(x, vec4(0.0), negative);
}

// x Phi(x) = max(x, 0) - |x| Phi(-|x|), where Phi(-a) = exp(-a P(a)) / 2, P minimax for a from 0 to 6 and
// rising from there on: absolute error of Phi 8e-9. Clamped where Phi is 1e-35.
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
