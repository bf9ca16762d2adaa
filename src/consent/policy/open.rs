//! A policy and the files that it names, read through the door and checked together.

use std::path::Path;

use super::{Findings, Opened, Policy};
use crate::consent::door::{self, Trust};
use crate::diagnostic::Source;
use crate::yaml::source::decode;

impl Policy {
    /// Reads a policy and the files it names, all through the door: nobody else could have changed them.
    ///
    /// # Errors
    /// Every mistake in any of them, file by file.
    pub fn open(path: &Path, trust: Trust) -> Result<Opened, Vec<Findings>> {
        let name = path.display().to_string();
        let source = door::read(path, trust).and_then(|bytes| decode(&name, bytes));
        let source = source.map_err(|mistake| {
            vec![Findings { source: Source::new(&*name, String::new()), diagnostics: vec![*mistake] }]
        })?;
        Self::read(source, |path| door::read(path, trust))
    }
}
