//! The agent's binary: see the library.

fn main() -> std::process::ExitCode {
    beffroi_agent::cli::main()
}
