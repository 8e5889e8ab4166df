//! A kernel's shader in one of its variants.

use std::collections::{BTreeMap, BTreeSet};

use crate::compose::{ComposeError, compose};
use crate::constants::CONSTANTS;

/// A kernel's shader in one of its variants: which lines of `K.wgsl` it has, and the constants in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shader {
    /// The kernel's one name.
    pub kernel: &'static str,
    /// The flags that `#if` asks for.
    pub flags: BTreeSet<&'static str>,
    /// What `$name` stands for: sizes of tiles, which lines are repeated by.
    pub constants: BTreeMap<&'static str, u32>,
}

impl Shader {
    /// The shader of a kernel without any flag or constant.
    pub fn new(kernel: &'static str) -> Self {
        Shader { kernel, flags: BTreeSet::new(), constants: BTreeMap::new() }
    }

    /// The same with a flag, where `present`.
    pub fn with(mut self, flag: &'static str, present: bool) -> Self {
        if present {
            self.flags.insert(flag);
        }
        self
    }

    /// The same with a constant.
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.constants.insert(name, value);
        self
    }

    /// What it is called in errors and by debuggers: `conv+bias+stats ROWS=8`.
    pub fn label(&self) -> String {
        let flags: String = self.flags.iter().map(|flag| format!("+{flag}")).collect();
        let constants: String = self.constants.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        format!("{}{flags}{constants}", self.kernel)
    }

    /// Its WGSL, from the texts of the files by their names.
    pub(crate) fn compose_from<'a>(&self, read: &dyn Fn(&str) -> Option<&'a str>) -> Result<String, ComposeError> {
        let constants = CONSTANTS.iter().copied().chain(self.constants.iter().map(|(&name, &value)| (name, value)));
        compose(&format!("{}.wgsl", self.kernel), read, &self.flags, &constants.collect())
    }
}
