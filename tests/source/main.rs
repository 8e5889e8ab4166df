//! Tests rules for the sources themselves: their layers, and a test for each threshold.

mod layers;
mod scan;
mod thresholds;
