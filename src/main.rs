//! The command `rollcall`.

use std::process::ExitCode;

/// Several threads allocate for each event; the C library's allocator, which a static binary has,
/// would have them wait for one another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rollcall::cli::main()
}
