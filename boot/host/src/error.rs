//! What can go wrong, in words that name the cause and the way out.

use std::fmt;
use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something did not happen.
#[derive(Debug)]
pub enum Error {
    /// Anything that a sentence describes fully.
    Message(String),
    /// The command line makes no sense.
    Usage(String),
    /// The time given was over before the guest did what was waited for.
    Timeout {
        /// What was waited for.
        waiting_for: String,
        /// The last lines the console showed.
        screen: String,
        /// Where the console logs are.
        logs: PathBuf,
    },
    /// The kernel stopped with a bugcheck.
    Bugcheck {
        /// The screen from the `*** STOP` line on.
        screen: String,
        /// Where the console logs are.
        logs: PathBuf,
    },
    /// QEMU ended when nobody had asked the guest to shut down.
    Died {
        /// What is known about it.
        how: String,
        /// The last lines the console showed.
        screen: String,
        /// Where the console logs are.
        logs: PathBuf,
    },
}

impl Error {
    /// The exit status of `./run.sh` for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Message(_) => 1,
            Error::Usage(_) => 2,
            Error::Timeout { .. } => 124,
            Error::Bugcheck { .. } => 125,
            Error::Died { .. } => 126,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Message(text) | Error::Usage(text) => f.write_str(text),
            Error::Timeout { waiting_for, screen, logs } => {
                writeln!(f, "timed out waiting for {waiting_for} (--timeout gives more time)")?;
                show(f, screen)?;
                write!(f, "console logs: {}", logs.display())
            }
            Error::Bugcheck { screen, logs } => {
                writeln!(f, "the kernel stopped, or could not be started")?;
                show(f, screen)?;
                write!(f, "console logs: {}", logs.display())
            }
            Error::Died { how, screen, logs } => {
                writeln!(f, "the machine ended unexpectedly: {how}")?;
                show(f, screen)?;
                write!(f, "console logs: {}", logs.display())
            }
        }
    }
}

fn show(f: &mut fmt::Formatter<'_>, screen: &str) -> fmt::Result {
    for line in screen.trim_end().lines() {
        writeln!(f, "  | {line}")?;
    }
    Ok(())
}

impl std::error::Error for Error {}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Error::Usage(error.to_string())
    }
}

/// Shorthand for [`Error::Message`].
pub fn message(text: impl Into<String>) -> Error {
    Error::Message(text.into())
}

/// Adds what was being done to an I/O error.
pub trait Context<T> {
    /// Turns the error into `cannot WHAT: CAUSE`.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::Message(format!("cannot {what}: {error}")))
    }
}
