//! Templates of an operator's commands: words in which places like `{id}` are filled. No shell reads the result.

/// The template with its places filled. A place that comes in with a word is not filled again. A word that would begin with
/// `-` only because of what was filled in gets a space before it: a name of a peer is no option of the operator's program.
pub(super) fn filled(template: &[String], places: &[(&str, &str)]) -> Vec<String> {
    let fill = |word: &String| {
        let (mut rest, mut out) = (word.as_str(), String::with_capacity(word.len()));
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let place = places.iter().find_map(|(name, text)| Some((from.strip_prefix(name)?, text)));
            rest = match place {
                Some((after, text)) => {
                    if out.is_empty() && text.starts_with('-') {
                        out.push(' ');
                    }
                    out.push_str(text);
                    after
                }
                None => {
                    out.push('{');
                    from.strip_prefix('{').expect("it was found there")
                }
            };
        }
        out + rest
    };
    template.iter().map(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_never_an_option() {
        let template = ["/bin/notify", "{title}", "--title={title}", "-x{title}"].map(str::to_owned);
        let words = filled(&template, &[("{title}", "-rf {title}")]);
        assert_eq!(words, ["/bin/notify", " -rf {title}", "--title=-rf {title}", "-x-rf {title}"]);
    }
}
