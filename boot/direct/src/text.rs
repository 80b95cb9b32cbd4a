//! A Multiboot module's string: the file's path, then whatever followed it.

/// Splits `path rest of the line`; leading and trailing spaces belong to neither part.
pub fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii();
    let end = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
    let (path, rest) = line.split_at(end);
    (path, rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn path_and_rest() {
        assert_eq!(split(b"build/kernel a=b c"), (&b"build/kernel"[..], &b"a=b c"[..]));
        assert_eq!(split(b" smss   smss "), (&b"smss"[..], &b"smss"[..]));
        assert_eq!(split(b"alone"), (&b"alone"[..], &b""[..]));
        assert_eq!(split(b""), (&b""[..], &b""[..]));
    }
}
