//! The program behind `run.sh`.

use antares_host::{Error, cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("antares: {error}");
            if matches!(error, Error::Usage(_)) {
                eprintln!("antares: ./run.sh help explains what there is");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
