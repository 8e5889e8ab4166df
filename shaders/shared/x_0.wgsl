// The image without noise, from x_t and what a network predicted of it.

#import finite.wgsl

// Whether the network predicts it itself; else the noise in x_t.
override PREDICT_START: u32;
// Whether it is clipped to -1..1.
override CLIP: u32;

fn predicted_x_0(sqrt_recip: f32, sqrt_recipm1: f32, noisy: f32, predicted: f32) -> f32 {
    var clean = predicted;
    if PREDICT_START == 0u {
        clean = sqrt_recip * noisy - sqrt_recipm1 * predicted;
    }
    if CLIP == 0u {
        return clean;
    }
    // NaN stays NaN, and an infinity becomes NaN: clipped, it would be a pixel that nobody could tell from a right one.
    let bits = bitcast<u32>(clean);
    return select(bitcast<f32>(bits | 0x7fc00000u), clamp(clean, -1.0, 1.0), is_finite(bits));
}
