//! The kernel's own words on its command line: `name=value`, separated by spaces. All other words are the first
//! process's.

/// Most records of a trace ring: 1 GiB.
const MOST_RECORDS: u32 = 1 << 24;

/// What the command line asks of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// `alpc.fastpath=on|off`: small requests and replies may go directly between threads.
    pub alpc_fastpath: bool,
    /// `trace=on`: ALPC events are recorded from the first one on.
    pub trace: bool,
    /// `trace.records=N`: records in each processor's trace ring, a power of two; none: as memory allows.
    pub trace_records: Option<u32>,
}

impl Options {
    /// Without a command line.
    pub const DEFAULT: Self = Self { alpc_fastpath: true, trace: false, trace_records: None };

    /// Reads a command line. Each word with a name of the kernel's and a value that it does not know is given to
    /// `unknown` and changes nothing.
    pub fn parse<'a>(line: &'a str, mut unknown: impl FnMut(&'a str)) -> Self {
        let mut options = Self::DEFAULT;
        for word in line.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("alpc.fastpath", "on")) => options.alpc_fastpath = true,
                Some(("alpc.fastpath", "off")) => options.alpc_fastpath = false,
                Some(("trace", "on")) => options.trace = true,
                Some(("trace", "off")) => options.trace = false,
                Some(("trace.records", number)) => match number.parse() {
                    Ok(number @ 1..=MOST_RECORDS) => options.trace_records = Some(number),
                    _ => unknown(word),
                },
                Some(("alpc.fastpath" | "trace", _)) => unknown(word),
                _ => {}
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Options, Vec<&str>) {
        let mut unknown = Vec::new();
        let options = Options::parse(line, |word| unknown.push(word));
        (options, unknown)
    }

    #[test]
    fn other_words_are_not_the_kernels() {
        for line in ["", "  ", "run=x alpc.fast=off alpc.fastpath", "=", "alpc.fastpath=on"] {
            assert_eq!(parse(line), (Options::DEFAULT, vec![]), "{line}");
        }
    }

    #[test]
    fn the_last_word_counts() {
        assert!(!parse("a alpc.fastpath=off b=c").0.alpc_fastpath);
        assert!(parse("alpc.fastpath=off alpc.fastpath=on").0.alpc_fastpath);
        let (options, unknown) = parse("alpc.fastpath=off alpc.fastpath=maybe");
        assert!(!options.alpc_fastpath);
        assert_eq!(unknown, ["alpc.fastpath=maybe"]);
    }

    #[test]
    fn tracing_from_the_start() {
        assert!(parse("trace=off trace=on").0.trace);
        assert_eq!(parse("trace.records=65536").0.trace_records, Some(65536));
        let (options, unknown) =
            parse("trace.records=0 trace.records=99999999999 trace.records=x trace=maybe");
        assert_eq!((options, unknown.len()), (Options::DEFAULT, 4));
    }
}
