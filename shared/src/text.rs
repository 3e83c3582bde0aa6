//! Text that people chose: one measure for what a provider says, for what a user writes, and for what a terminal shows.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use url::Url;

/// The longest text, in characters; at most 1,024 bytes.
pub(crate) const MAX_CHARS: usize = 256;
/// The longest URL, in bytes.
pub(crate) const MAX_URL: usize = 2048;

/// Returns `text` in Unicode Normalization Form C.
pub(crate) fn composed(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// Returns the bytes in hexadecimal digits, in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The visible effect of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// The character is visible.
    Shown,
    /// The character is a space.
    Space,
    /// Invisible, but changes the character before it or joins it to the next: emoji, Persian and Indic scripts need
    /// it.
    Joiner,
    /// Invisible, but changes the character before it.
    Selector,
    /// Invisible, but turns the black flag before it into that of a region.
    Tag,
    /// Invisible, or changes the direction of the surrounding text (Unicode Standard Annex #9).
    Hidden,
}

/// The longest code of a region, `gbeng`, with the tag that ends it.
const MAX_TAGS: usize = 6;
const BLACK_FLAG: char = '\u{1f3f4}';

impl Sight {
    /// Classifies a character. Unicode's default-ignorable characters and a few more are invisible.
    fn of(c: char) -> Self {
        match c {
            '\u{200c}'..='\u{200d}' => Self::Joiner,
            '\u{180b}'..='\u{180d}'
            | '\u{180f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{e0100}'..='\u{e01ef}' => Self::Selector,
            '\u{e0020}'..='\u{e007f}' => Self::Tag,
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}' => Self::Hidden,
            // Blank letters and symbols, and the object replacement character.
            '\u{2800}' | '\u{fffc}' | '\u{13441}'..='\u{13442}' | '\u{16fe4}' | '\u{1d159}' => {
                Self::Hidden
            }
            '\u{fdd0}'..='\u{fdef}' => Self::Hidden,
            c if c.is_control() || u32::from(c) & 0xfffe == 0xfffe => Self::Hidden,
            c if c.is_whitespace() => Self::Space,
            _ => Self::Shown,
        }
    }
}

/// Returns `text` without invisible characters. A character that changes the one before it stays, if there is one and
/// it is not one of many in a row, which could encode a hidden text.
pub(crate) fn presentable(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut before = Sight::Space;
    let mut tags = MAX_TAGS;
    for c in text.chars() {
        let sight = Sight::of(c);
        let stays = match sight {
            Sight::Shown | Sight::Space => true,
            Sight::Joiner => matches!(before, Sight::Shown | Sight::Selector | Sight::Tag),
            Sight::Selector => before == Sight::Shown,
            Sight::Tag => tags < MAX_TAGS,
            Sight::Hidden => false,
        };
        if stays {
            tags = match sight {
                Sight::Tag => tags + 1,
                _ if c == BLACK_FLAG => 0,
                _ => MAX_TAGS,
            };
            before = sight;
            kept.push(c);
        }
    }
    kept
}

/// Returns whether `c` is not shown, or steers a terminal, or turns the direction of the text around it. A joiner, a
/// selector and a tag count as shown: emoji and some scripts are written with them.
pub fn is_hidden(c: char) -> bool {
    Sight::of(c) == Sight::Hidden
}

/// Returns whether each character of `text` is visible by itself.
pub(crate) fn is_plain(text: &str) -> bool {
    text.chars().all(|c| Sight::of(c) == Sight::Shown)
}

/// Returns whether `text` has no visible character.
pub(crate) fn is_blank(text: &str) -> bool {
    !text.chars().any(|c| Sight::of(c) == Sight::Shown)
}

/// Returns the URL of a picture in the spelling of the URL parser, if a page may show it: every browser reads it
/// alike, and no character in it ends an attribute. A URL with a user name is refused, because that name misleads or
/// is a secret.
pub(crate) fn picture(url: &str) -> Option<String> {
    if url.len() > MAX_URL || presentable(url) != url {
        return None;
    }
    let parsed = Url::parse(url).ok()?;
    let names_nobody = parsed.username().is_empty() && parsed.password().is_none();
    let spelled = String::from(parsed);
    let fits = spelled.len() <= MAX_URL && spelled.starts_with("https:");
    (fits && names_nobody).then_some(spelled)
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

    #[test]
    fn t63_no_character_that_unicode_lets_a_page_ignore_counts_as_shown() {
        let ignorable = icu_properties::CodePointSetData::new::<
            icu_properties::props::DefaultIgnorableCodePoint,
        >();
        for c in '\0'..=char::MAX {
            if ignorable.contains(c) {
                assert!(is_blank(&c.to_string()), "U+{:04X}", u32::from(c));
                assert_eq!(presentable(&c.to_string()), "", "U+{:04X}", u32::from(c));
            }
        }
    }

    #[test]
    fn t63_what_nobody_sees_is_left_out_and_what_is_written_with_it_stays() {
        for text in [
            "👩\u{200d}👩\u{200d}👧",
            "❤\u{fe0f}\u{200d}🔥",
            "نام\u{200c}ها",
            "क्\u{200d}ष",
            "葛\u{e0100}",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        ] {
            assert_eq!(presentable(text), text);
        }
        for (text, seen) in [
            ("a\u{200d}\u{200d}b", "a\u{200d}b"),
            ("a \u{200d}\u{fe0f}b", "a b"),
            ("a\u{fe0f}\u{fe01}", "a\u{fe0f}"),
            ("a\u{e0061}\u{e0062}", "a"),
            ("🏴\u{e0061}b\u{e0062}", "🏴\u{e0061}b"),
            (
                "a\u{2800}\u{3164}\u{34f}\u{115f}\u{ffa0}\u{fffe}\u{10ffff}b",
                "ab",
            ),
        ] {
            assert_eq!(presentable(text), seen);
        }
        let row = format!("🏴{}", "\u{e0061}".repeat(100));
        assert_eq!(presentable(&row).chars().count(), 1 + MAX_TAGS);
    }

    #[test]
    fn t63_a_picture_has_the_spelling_of_the_parser() {
        for url in [
            "https://example.com/a\n.png",
            "\nhttps://example.com/",
            "https://example.com/\u{202e}gnp.a",
            "https://u@example.com/",
            "https://:p@example.com/",
            "https://u:p@example.com/",
            "http://example.com/",
            "https:",
            &format!("https://example.com/{}", "é".repeat(400)),
        ] {
            assert_eq!(picture(url), None, "{url}");
        }
        let long = |size: usize| format!("https://example.com/{}", "x".repeat(size - 20));
        assert!(picture(&long(MAX_URL)).is_some());
        assert_eq!(picture(&long(MAX_URL + 1)), None);
        let odd = picture("https:\\\\EXAMPLE.com/\"'><script>?\"><b>#\"><b>`").unwrap();
        assert!(odd.starts_with("https://example.com/") && odd.is_ascii());
        assert!(!odd.contains(['"', '<', '>', '`', '\\', ' ']), "{odd}");
        assert_eq!(picture(&odd).as_ref(), Some(&odd));
    }
}
