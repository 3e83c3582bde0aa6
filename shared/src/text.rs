//! What people may call themselves: one measure for what a provider says and for what a user writes.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use url::Url;

/// The longest text, in characters: at most 1,024 bytes.
pub(crate) const MAX_CHARS: usize = 256;
/// The longest URL, in bytes.
pub(crate) const MAX_URL: usize = 2048;

/// `text` in the one spelling (Unicode Normalization Form C) that looks the same as all its others.
pub(crate) fn composed(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// Whether a character may be shown: no control character, and none that turns the direction of the text around it
/// (Unicode Standard Annex #9).
pub(crate) fn is_presentable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether there is nothing to see in `text`: spaces, and characters without a width of their own.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace()
            || matches!(
                c,
                '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}'
            )
    })
}

/// Whether a page may show the picture at `url`.
pub(crate) fn is_picture(url: &str) -> bool {
    url.len() <= MAX_URL && Url::parse(url).is_ok_and(|url| url.scheme() == "https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_one_name_become_one() {
        assert_eq!(composed("Jose\u{301}"), "José");
        assert_eq!(composed("José"), "José");
    }

    #[test]
    fn a_name_of_nothing_is_blank_and_an_emoji_of_several_parts_is_not() {
        assert!(is_blank("") && is_blank(" \u{200b}\u{200d}\u{a0}"));
        assert!(!is_blank("👩\u{200d}👩\u{200d}👧"));
    }
}
