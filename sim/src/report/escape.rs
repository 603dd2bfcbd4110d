//! Text of others, made harmless.

use std::fmt::Write as _;

/// One line of at most `limit` characters. What cannot be seen, or changes how other text is seen, is written as an
/// escape such as `\u{0}`: a control character, and what turns the direction of text.
pub(crate) fn line(text: &str, limit: usize) -> String {
    cleaned(text, limit, false)
}

/// The same for text of several lines, whose ends are kept.
pub(crate) fn block(text: &str, limit: usize) -> String {
    cleaned(text, limit, true)
}

fn cleaned(text: &str, limit: usize, keeps_lines: bool) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    for char in text.chars().take(limit) {
        match char {
            '\n' if keeps_lines => out.push(char),
            _ if char.is_control() || is_invisible(char) => out.extend(char.escape_default()),
            _ => out.push(char),
        }
    }
    let rest = text.chars().skip(limit).count();
    if rest > 0 {
        let _ = write!(out, "... ({rest} more characters)");
    }
    out
}

/// Characters of Unicode that separate lines, set the direction of text, take no room or are none.
fn is_invisible(char: char) -> bool {
    matches!(
        char,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fdd0}'..='\u{fdef}'
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    ) || u32::from(char) & 0xfffe == 0xfffe
}

/// The text for HTML, between tags and in attributes alike.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(char),
        }
    }
    out
}
