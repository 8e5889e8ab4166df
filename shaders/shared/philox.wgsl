// Standard normals from a counter and a key. Mirrors engine/src/reference/noise.rs, which has the derivation, word for
// word. Uses only 32-bit integers, and f32 with + - * and the square root.

// Returns the high (x) and the low word (y) of a product, computed from 16-bit halves.
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
    return vec2((a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u), a * b);
}

// Returns 128 random bits for each counter and key (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405).
fn philox4x32_10(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var x = counter;
    var key = seed;
    for (var i = 0u; i < 10u; i++) {
        let a = wide_product(0xD2511F53u, x[0]);
        let b = wide_product(0xCD9E8D57u, x[2]);
        x = vec4(b.x ^ x[1] ^ key[0], b.y, a.x ^ x[3] ^ key[1], a.y);
        key += vec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return x;
}

// Returns sqrt(-2 ln u) for u = ((word >> 8) + 1/2) / 2^24.
fn radius(word: u32) -> f32 {
    // u = 2^exponent * (1 + s), with s from sqrt(1/2) - 1 to sqrt(2) - 1, exactly.
    let odd = ((word >> 8u) << 1u) | 1u;
    let shift = countLeadingZeros(odd) - 7u;
    let significand = odd << shift;
    var exponent = -1.0 - f32(shift);
    var s = f32(i32(significand) - (1i << 24u)) * (1.0 / 16777216.0);
    // A significand above sqrt 2, in units of 2^-24, is halved.
    if significand > 23726566u {
        exponent = -f32(shift);
        s = f32(i32(significand) - (1i << 25u)) * (0.5 / 16777216.0);
    }

    // ln(1 + s) = s - s^2 / 2 + s^3 P(s).
    var p = 0.12762485 + s * -0.076369405;
    p = -0.1315955 + s * p;
    p = 0.1420154 + s * p;
    p = -0.1662341 + s * p;
    p = 0.20001243 + s * p;
    p = -0.2500082 + s * p;
    p = 0.3333333 + s * p;
    let square = s * s;
    // ln 2 is split into two parts. The first has so few bits that its multiples are exact.
    let rest = square * s * p - 0.5 * square + exponent * -2.1219444e-4;
    let log_u = exponent * (355.0 / 512.0) + (s + rest);
    return sqrt(-2.0 * log_u);
}

// Returns cos(2 pi v) and sin(2 pi v) for v = ((word >> 8) + 1/2) / 2^24. WGSL's own may have an error of 2^-11.
fn cos_sin(word: u32) -> vec2<f32> {
    // v = quadrant / 4 + x / 8, with x from -1 to 1, exactly.
    let odd = ((word >> 8u) << 1u) | 1u;
    let quadrant = (odd + (1u << 22u)) >> 23u;
    let x = f32(i32(odd) - i32(quadrant << 23u)) * (1.0 / 4194304.0);
    let square = x * x;

    var sine = 0.0024909931 + square * -3.6592763e-5;
    sine = -0.08074582 + square * sine;
    sine = x * (0.78539816339 + square * sine);
    var cosine = -0.00032586313 + square * 3.4902623e-6;
    cosine = 0.015854282 + square * cosine;
    cosine = 1.0 + square * (-0.30842513 + square * cosine);

    switch quadrant & 3u {
        case 0u: {
            return vec2(cosine, sine);
        }
        case 1u: {
            return vec2(-sine, cosine);
        }
        case 2u: {
            return vec2(-cosine, -sine);
        }
        default: {
            return vec2(sine, -cosine);
        }
    }
}

// Returns four standard normals by Box-Muller: words 0 and 1 make the first two, words 2 and 3 the others.
fn normals(counter: vec4<u32>, seed: vec2<u32>) -> vec4<f32> {
    let words = philox4x32_10(counter, seed);
    return vec4(radius(words[0]) * cos_sin(words[1]), radius(words[2]) * cos_sin(words[3]));
}
