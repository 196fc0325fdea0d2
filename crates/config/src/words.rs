//! Splits the text after a directive's name into words, exactly as httpd does it.
//!
//! Runs in: the Apache parent while the configuration is read; a child for `.htaccess`.
//!
//! Directives arrive as raw text, because httpd's own argument counts would make each of its
//! messages say less than ours. The rules are those of `ap_getword_conf`: a word that begins with
//! a quote runs to the same quote, inside which a backslash protects the quote and itself; any
//! other word runs to white space, and there a backslash protects only itself.

use std::sync::Arc;

/// Text of the configuration, shared between merged records.
pub type Text = Arc<[u8]>;

/// What C's isspace() says in the C locale, which is what httpd uses.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// `text` without white space at its beginning.
pub fn skip_space(text: &[u8]) -> &[u8] {
    let blank = text.iter().take_while(|&&byte| is_space(byte)).count();
    &text[blank..]
}

/// The first word of `text` and what follows it, or `None` when only white space is left. A
/// quoted empty word is `Some` empty one, which most directives refuse like httpd does.
pub fn next_word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let text = skip_space(text);
    let quote = match text.first()? {
        &quote @ (b'"' | b'\'') => Some(quote),
        _ => None,
    };
    let mut word = Vec::new();
    let mut at = usize::from(quote.is_some());
    while let Some(&byte) = text.get(at) {
        if quote.map_or(is_space(byte), |quote| byte == quote) {
            break;
        }
        let protects = |next: u8| next == b'\\' || Some(next) == quote;
        match text.get(at + 1) {
            Some(&next) if byte == b'\\' && protects(next) => {
                word.push(next);
                at += 2;
            }
            _ => {
                word.push(byte);
                at += 1;
            }
        }
    }
    let closed = quote.is_some() && at < text.len();
    Some((word, skip_space(&text[at + usize::from(closed)..])))
}

/// All words of `text`.
pub fn words(mut text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    while let Some((word, rest)) = next_word(text) {
        words.push(word);
        text = rest;
    }
    words
}

/// One `option=value` pair of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Left of the `=`, taken literally.
    pub option: Vec<u8>,
    /// Right of it, as a word: it may be quoted, and then may have spaces.
    pub value: Vec<u8>,
}

/// Takes one `option=value` off the front of `text`; `Ok(None)` at the end of the line.
///
/// The error is the word that is no such pair.
pub fn next_pair(text: &[u8]) -> Result<Option<(Pair, &[u8])>, Vec<u8>> {
    let text = skip_space(text);
    if text.is_empty() {
        return Ok(None);
    }
    let end = text
        .iter()
        .position(|&byte| byte == b'=' || is_space(byte))
        .unwrap_or(text.len());
    if end == 0 || text.get(end) != Some(&b'=') {
        let whole = text
            .iter()
            .position(|&byte| is_space(byte))
            .unwrap_or(text.len());
        return Err(text[..whole].to_vec());
    }
    let (value, rest) = next_word(&text[end + 1..]).unwrap_or_default();
    Ok(Some((
        Pair {
            option: text[..end].to_vec(),
            value,
        },
        rest,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(text.as_bytes())
            .into_iter()
            .map(|word| String::from_utf8(word).unwrap())
            .collect()
    }

    #[test]
    fn words_are_split_as_httpd_splits_them() {
        for (text, expected) in [
            ("", &[][..]),
            ("  \t ", &[]),
            ("one", &["one"]),
            ("  one   two\tthree  ", &["one", "two", "three"]),
            (r#""a b" c"#, &["a b", "c"]),
            ("'a b' c", &["a b", "c"]),
            (r#""it's" x"#, &["it's", "x"]),
            (r#""say \"hi\"" x"#, &[r#"say "hi""#, "x"]),
            (r"'don\'t' x", &["don't", "x"]),
            // Inside quotes a backslash protects the quote in use and itself, nothing else.
            (r#""a\'b\n""#, &[r"a\'b\n"]),
            (r#""a\\b""#, &[r"a\b"]),
            // Outside of quotes it protects itself only: a path with \" keeps both.
            (r#"a\\b\"c"#, &[r#"a\b\"c"#]),
            (r"a\ b", &[r"a\", "b"]),
            // A quote in the middle of a word is an ordinary character.
            (r#"a"b c"d"#, &[r#"a"b"#, r#"c"d"#]),
            // After a closing quote the next word begins at once.
            (r#""a"b"#, &["a", "b"]),
            // An open quote runs to the end of the line.
            (r#""a b"#, &["a b"]),
            (r#""a\"#, &[r"a\"]),
            (r#""""#, &[""]),
            (r#""" x"#, &["", "x"]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn a_pair_keeps_its_quoted_value_whole() {
        let (pair, rest) = next_pair(br#" home="/srv/my shop" user=ann"#)
            .unwrap()
            .unwrap();
        assert_eq!(
            (&pair.option[..], &pair.value[..]),
            (&b"home"[..], &b"/srv/my shop"[..])
        );
        assert_eq!(rest, b"user=ann");
        let (pair, rest) = next_pair(b"env=A=b=c").unwrap().unwrap();
        assert_eq!(
            (&pair.option[..], &pair.value[..]),
            (&b"env"[..], &b"A=b=c"[..])
        );
        assert_eq!(next_pair(rest), Ok(None));
        let (pair, _) = next_pair(b"user=").unwrap().unwrap();
        assert_eq!(pair.value, b"");
    }

    #[test]
    fn what_is_no_pair_is_handed_back() {
        assert_eq!(next_pair(b"bare other=1"), Err(b"bare".to_vec()));
        assert_eq!(next_pair(b"=value other=1"), Err(b"=value".to_vec()));
        assert_eq!(next_pair(b"user =ann"), Err(b"user".to_vec()));
    }
}
