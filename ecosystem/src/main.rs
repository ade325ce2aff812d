//! The program `rookery`. Everything is in the library, so that tests can use its parts.

/// Batches make and free many small pieces on several threads, which is what this allocator is best at; figures in
/// docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ecosystem::main()
}
