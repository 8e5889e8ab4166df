// Tests by bits: a driver may assume that no float is NaN or infinite, and compare accordingly.

// The bits of a float's exponent, which are all set in NaN and infinities and in nothing else.
const EXPONENT = 0x7f800000u;

fn is_finite(bits: u32) -> bool {
    return (bits & EXPONENT) != EXPONENT;
}

fn is_nan(bits: u32) -> bool {
    return (bits & 0x7fffffffu) > EXPONENT;
}
