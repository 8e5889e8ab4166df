//! One variant of a kernel's shader.

use std::collections::{BTreeMap, BTreeSet};

use crate::compose::{ComposeError, compose};
use crate::constants::CONSTANTS;

/// One variant of a kernel's shader: the flags that select lines of `K.wgsl`, and the constants in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shader {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The flags that `#if` tests.
    pub flags: BTreeSet<&'static str>,
    /// The values of `$name`: tile sizes, which also determine how often lines are repeated.
    pub constants: BTreeMap<&'static str, u32>,
}

impl Shader {
    /// Creates the shader of a kernel without flags and constants.
    pub fn new(kernel: &'static str) -> Self {
        Shader { kernel, flags: BTreeSet::new(), constants: BTreeMap::new() }
    }

    /// Adds a flag if `present`.
    pub fn with(mut self, flag: &'static str, present: bool) -> Self {
        if present {
            self.flags.insert(flag);
        }
        self
    }

    /// Adds a constant.
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.constants.insert(name, value);
        self
    }

    /// Returns the shader's name in errors and debuggers, such as `conv+bias+stats ROWS=8`.
    pub fn label(&self) -> String {
        let flags: String = self.flags.iter().map(|flag| format!("+{flag}")).collect();
        let constants: String = self.constants.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        format!("{}{flags}{constants}", self.kernel)
    }

    /// Composes the shader's WGSL. `read` returns the text of a file by its name.
    pub(crate) fn compose_from<'a>(&self, read: &dyn Fn(&str) -> Option<&'a str>) -> Result<String, ComposeError> {
        let constants = CONSTANTS.iter().copied().chain(self.constants.iter().map(|(&name, &value)| (name, value)));
        compose(&format!("{}.wgsl", self.kernel), read, &self.flags, &constants.collect())
    }
}
