// Tests of bits, because a driver may assume that no float is NaN or infinite, and compile comparisons accordingly.

// The bits of a float's exponent, which are all set only in NaN and infinities.
const EXPONENT = 0x7f800000u;

fn is_finite(bits: u32) -> bool {
    return (bits & EXPONENT) != EXPONENT;
}

fn is_nan(bits: u32) -> bool {
    return (bits & 0x7fffffffu) > EXPONENT;
}
