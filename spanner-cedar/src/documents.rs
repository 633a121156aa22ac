//! The files of an access, as they were read.

use sha2::{Digest as _, Sha256};
use spanner_toml::{Problem, Source};

/// One file: its name within the access, with `/` between parts, and its text.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) text: String,
    /// For the digest: what its name is wherever the models' own folders lie.
    pub(crate) digested: String,
    /// Whether it lies in a model's own folder.
    pub(crate) own: bool,
    /// Why it is not in force as it is; with a text, that is what is in force instead.
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
    /// What an access takes that is asked about one model only: the organization and its
    /// guardrails, and of the manifests this one, if it is given.
    pub(crate) fn about(&self, manifest: Option<usize>) -> Self {
        let own = manifest.and_then(|manifest| self.manifests.get(manifest));
        Self {
            organization: self.organization.clone(),
            manifests: own.into_iter().cloned().collect(),
            guardrails: self.guardrails.clone(),
            cases: Vec::new(),
        }
    }

    /// The digest of everything that decides: the files by name and content, and what the
    /// program adds.
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
    /// Whether nothing of it is in force.
    pub(crate) const fn is_void(&self) -> bool {
        self.text.is_empty() && !self.fault.is_empty()
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source::new(&self.name, &self.text).visible_only()
    }
}
