//! `keymoult` built with the feature `test-without-r0`: the daemon that `control.rs` must catch.

fn main() -> std::process::ExitCode {
    keymoult::cli::main()
}
