//! The `keymoult` binary; everything it does is in the library's [`keymoult::cli`].

fn main() -> std::process::ExitCode {
    keymoult::cli::main()
}
