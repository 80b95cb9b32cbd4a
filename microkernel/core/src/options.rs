//! The kernel's own words on its command line: `name=value`, separated by spaces. All other words are the first
//! process's.

/// What the command line asks of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// `alpc.fastpath=on|off`: small requests and replies may go directly between threads.
    pub alpc_fastpath: bool,
}

impl Options {
    /// Without a command line.
    pub const DEFAULT: Self = Self { alpc_fastpath: true };

    /// Reads a command line. Each word with a name of the kernel's and a value that it does not know is given to
    /// `unknown` and changes nothing.
    pub fn parse<'a>(line: &'a str, mut unknown: impl FnMut(&'a str)) -> Self {
        let mut options = Self::DEFAULT;
        for word in line.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("alpc.fastpath", "on")) => options.alpc_fastpath = true,
                Some(("alpc.fastpath", "off")) => options.alpc_fastpath = false,
                Some(("alpc.fastpath", _)) => unknown(word),
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
}
