//! Text as HTML: whatever a peer named or wrote is inert on the page.

use crate::time::Wall;
use crate::words;

/// Text between tags or in a quoted attribute: no markup, no control characters, none that turn the direction of writing.
pub(super) fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in words::clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Text in a quoted attribute that has to come back unchanged, as the value of a form does: escaped, not cleaned.
pub(super) fn attribute(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '-' | '.' | '_' | '/' | ':' => out.push(c),
            other => out.push_str(&format!("&#{};", u32::from(other))),
        }
        out
    })
}

/// The same, at most so many characters long.
pub(super) fn esc_cut(text: &str, chars_max: usize) -> String {
    match text.chars().count() <= chars_max {
        true => esc(text),
        false => esc(&text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect::<String>()),
    }
}

/// A sentence in which commands stand in backticks.
pub(super) fn marked(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let even = parts.len() % 2 == 1;
    let part = |(n, part): (usize, &&str)| match (n % 2 == 1 && even, n) {
        (true, _) => format!("<code>{}</code>", esc(part)),
        (false, 0) => esc(part),
        (false, _) if even => esc(part),
        // A single mark is no command: it stays as it is.
        (false, _) => format!("`{}", esc(part)),
    };
    parts.iter().enumerate().map(part).collect()
}

/// An RFC 3339 time as an age; the time itself shows on tap.
pub(super) fn age(time: &str, now: Wall) -> String {
    stamp(time, &words::age(time, now))
}

/// An RFC 3339 time in other words; the time itself shows on tap.
pub(super) fn stamp(time: &str, shown: &str) -> String {
    let full = words::full_time(time);
    format!("<time tabindex=0 datetime=\"{}\" data-at=\"{}\">{}</time>", esc(time), esc(&full), esc(shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_and_control_characters_become_text() {
        let hostile = "<img src=x onerror='alert(1)'>\"&\u{1b}[2J\u{202e}\0";
        assert_eq!(
            esc(hostile),
            "&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&quot;&amp;\u{fffd}[2J\u{fffd}\u{fffd}"
        );
        assert_eq!(marked("run `tombolo <x>`, now"), "run <code>tombolo &lt;x&gt;</code>, now");
        assert_eq!(marked("an odd ` mark"), "an odd ` mark");
        assert_eq!(esc_cut("abcdef", 4), "abc…");
    }

    proptest! {
        #[test]
        fn nothing_that_opens_a_tag_or_ends_an_attribute_is_left(text in "\\PC*|[<>&\"'`\u{0}-\u{1f}]{0,20}") {
            for out in [esc(&text), marked(&text).replace("<code>", "").replace("</code>", "")] {
                prop_assert!(!out.contains(['<', '>', '"', '\'']) && !out.chars().any(char::is_control), "{out}");
            }
        }
    }
}
