//! `spanner-proxy`: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    spanner_proxy::command::main()
}
