//! The local server: Cambio on this machine, by `cargo run` or `npx cambio dev`.

use std::process::ExitCode;

// All code is in the library, whose compiled parts stay when one of its dependencies changes.
fn main() -> ExitCode {
    local::command::main()
}
