//! The reader of Spanner's TOML files.
//!
//! 1. A [`Toml`] is parsed from a [`Source`]; all syntax errors are reported, not only the
//!    first.
//! 2. A [`Table`] is read key by key. A value that is missing, of the wrong type or out of range
//!    becomes a [`Problem`] with its [`Position`], and reading continues.
//! 3. A key that was renamed is read under its old name too. That is a hint and no problem
//!    ([`Problems::hints`]).
//! 4. Text from a file is escaped before it is shown: see [`line()`].
//! 5. [`Key`] describes a key once, for the reader, the reference and the JSON Schema.
//!
//! ```
//! use spanner_toml::{Toml, Problems, Source};
//!
//! let text = "listen = 8080\nenviroment = \"production\"\n";
//! let mut problems = Problems::default();
//! let source = Source::new("spanner.toml", text);
//! let toml = Toml::parse(source, &mut problems).unwrap();
//! let table = toml.table(["listen", "environment"].as_slice(), &mut problems);
//! assert!(table.text("listen", &mut problems).is_none());
//! assert_eq!(
//!     problems.to_string(),
//!     "the configuration has 2 problems:\n\
//!      spanner.toml:1:10: `listen` must be a string, not a value of type integer; write a string\n\
//!      spanner.toml:2:1: unknown key `enviroment`; did you mean `environment`?",
//! );
//! ```

mod escape;
mod key;
pub mod lookalike;
mod problem;
mod suggest;
mod table;
mod value;

pub use escape::{hide_userinfo, line, lines};
pub use key::{DURATION_PATTERN, Key, Kind, Known, SIZE_PATTERN};
pub use problem::{Position, Problem, Problems, Source};
pub use suggest::{listed, quoted, suggestion};
pub use table::{Item, Number, Table, Text, TextList, Toml};
pub use value::serde_words;
