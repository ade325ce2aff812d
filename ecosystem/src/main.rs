//! The program `rookery`. Everything is in the library, so that tests can use its parts.

fn main() -> std::process::ExitCode {
    ecosystem::main()
}
