//! How a command ends and what it prints besides its output.

use std::io::{self, Write};

use spanner_toml::line;

/// Any reason that ends a command.
pub(crate) type Stop = Box<dyn std::error::Error + Send + Sync>;

/// Writes a line to standard error. A failure is ignored, since it cannot be reported.
pub(crate) fn say(line: &str) {
    let _: io::Result<()> = writeln!(io::stderr(), "{line}");
}

/// Writes a note beside the output, in one line.
pub(crate) fn aside(what: &str) {
    say(&line(&format!("spanner: {what}")));
}

/// Whether the reader of the output closed it.
pub(crate) fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = error.source();
    }
    false
}
