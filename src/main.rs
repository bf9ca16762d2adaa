//! The `interlock` program: hands its arguments to the library's command line and ends with the exit code it returns.

fn main() -> std::process::ExitCode {
    interlock::cli::main()
}
