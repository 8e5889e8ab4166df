//! Tests every shader variant: its translations for every backend, and the composer.

mod compose;
mod translations;
mod variants;
