//! The files of an access, as they were read.

use sha2::{Digest as _, Sha256};
use spanner_toml::{Problem, Source};

/// One file: its name relative to the access directory, with `/` as the separator, and its text.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) text: String,
    /// The name used in the digest, which does not depend on where the models' own folders lie.
    pub(crate) digested: String,
    /// Whether it lies in a model's own folder.
    pub(crate) own: bool,
    /// Why this version is not in force. If `text` is not empty, it is the version in force instead.
    pub(crate) fault: Vec<Problem>,
}

/// The files of an access, sorted by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Documents {
    pub(crate) organization: Option<Document>,
    pub(crate) manifests: Vec<Document>,
    pub(crate) guardrails: Vec<Document>,
    pub(crate) cases: Vec<Document>,
}

impl Documents {
    /// The files that concern one model: the organization, the guardrails, and its manifest, if
    /// there is one.
    pub(crate) fn about(&self, manifest: Option<usize>) -> Self {
        let own = manifest.and_then(|manifest| self.manifests.get(manifest));
        Self {
            organization: self.organization.clone(),
            manifests: own.into_iter().cloned().collect(),
            guardrails: self.guardrails.clone(),
            cases: Vec::new(),
        }
    }

    /// The digest of everything that affects decisions: the files' names and contents, and the
    /// program's own inputs.
    pub(crate) fn digest(&self, program: &[&str]) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        add("spanner-access-1");
        for text in program {
            add(text);
        }
        let files = self
            .organization
            .iter()
            .chain(&self.manifests)
            .chain(&self.guardrails);
        for file in files {
            add(&file.digested);
            add(&file.text);
        }
        let digest: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("sha256:{digest}")
    }
}

impl Document {
    /// Whether no version of it is in force.
    pub(crate) const fn is_void(&self) -> bool {
        self.text.is_empty() && !self.fault.is_empty()
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source::new(&self.name, &self.text).visible_only()
    }
}
