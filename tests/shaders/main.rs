//! Every shader variant: its translations for every backend, its parameters on both sides, and the composer.

mod compose;
mod layouts;
mod translations;
