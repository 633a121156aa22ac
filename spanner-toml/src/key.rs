//! Descriptions of a table's keys, shared by the reader, the reference and the JSON Schema.

/// One key of a table.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The values it accepts.
    pub kind: Kind,
    /// The default as TOML, or in words; empty if there is none.
    pub default: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// What it means, in Markdown.
    pub about: &'static str,
    /// An earlier name, which is still read.
    pub old: Option<&'static str>,
}

/// The values that a key accepts.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Kind {
    /// A text; the word says what it is: `URL`, `path`, `name`.
    Text(&'static str),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// An integer in this range.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A duration with its unit; see [`spanner_core::units::parse_duration`].
    Duration,
    /// A duration, or `none`.
    DurationOrNone,
    /// A number of bytes, or a text with a unit; see [`spanner_core::units::parse_size`].
    Size,
    /// A text or a list of texts.
    Texts(&'static str),
    /// A table with these keys.
    Table(&'static [Key]),
    /// A list of tables (`[[key]]`) with these keys.
    Tables(&'static [Key]),
    /// A text, a table with these keys, or a list of both.
    Items(&'static str, &'static [Key]),
    /// A value that is described elsewhere; the text says what.
    Other(&'static str),
}

/// The keys that a table may have.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Known {
    /// Keys given by name only.
    Names(&'static [&'static str]),
    /// Keys with their descriptions.
    Keys(&'static [Key]),
    /// Any keys: each is a name that the user chooses.
    Any,
}

impl Key {
    /// A key that may be left out.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            kind,
            default: "",
            required: false,
            about,
            old: None,
        }
    }

    /// The key must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Sets the default.
    #[must_use]
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// Its earlier name, which is read with a hint.
    #[must_use]
    pub const fn old(mut self, old: &'static str) -> Self {
        self.old = Some(old);
        self
    }
}

impl Known {
    /// The names, without old ones.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        let (names, keys): (&[&str], &[Key]) = match self {
            Self::Names(names) => (names, &[]),
            Self::Keys(keys) => (&[], keys),
            Self::Any => (&[], &[]),
        };
        names.iter().copied().chain(keys.iter().map(|key| key.name))
    }

    /// The current name of a key in a file, which may use an old name; `None` if the key is
    /// unknown.
    pub(crate) fn current(self, name: &str) -> Option<&'static str> {
        let old = |key: &&Key| key.old == Some(name);
        let renamed = match self {
            Self::Keys(keys) => keys.iter().find(old).map(|key| key.name),
            Self::Names(_) | Self::Any => None,
        };
        self.names().find(|known| *known == name).or(renamed)
    }

    /// The earlier name of a key.
    pub(crate) fn old(self, name: &str) -> Option<&'static str> {
        match self {
            Self::Keys(keys) => keys.iter().find(|key| key.name == name)?.old,
            Self::Names(_) | Self::Any => None,
        }
    }
}

impl From<&'static [&'static str]> for Known {
    fn from(names: &'static [&'static str]) -> Self {
        Self::Names(names)
    }
}

impl From<&'static [Key]> for Known {
    fn from(keys: &'static [Key]) -> Self {
        Self::Keys(keys)
    }
}

/// A regular expression (ECMA 262) that every duration matches, for JSON Schemas.
pub const DURATION_PATTERN: &str = "^([0-9]+([.][0-9]+)?\\s*[a-zµ]+,?\\s*)+$|^[Pp][0-9A-Za-z.]+$";

/// A regular expression (ECMA 262) that every size matches, for JSON Schemas.
pub const SIZE_PATTERN: &str = "^[0-9]+ ?(B|KiB|MiB|GiB|TiB)$";
