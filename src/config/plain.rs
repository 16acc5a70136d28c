//! What a parser says of a value or a file, in plain words and on one line.

use std::fmt::Write as _;

/// Characters of a value that are quoted at most.
const QUOTED_MAX: usize = 80;

/// What is wrong with a value, and what would be right. `message` is what the deserializer says, and
/// `written` the value as it stands in the file, or nothing where it stands in none.
pub fn problem(message: &str, written: &str) -> String {
    let said = if let Some(rest) = message.strip_prefix("invalid type: ") {
        found(rest, written)
    } else if let Some(rest) = message.strip_prefix("invalid value: ") {
        found(rest, written)
    } else if let Some(rest) = message.strip_prefix("invalid length ") {
        rest.split_once(", expected ")
            .map(|(length, expected)| format!("found {length} values, expected {expected}"))
    } else if let Some(rest) = message.strip_prefix("unknown variant `") {
        rest.rsplit_once("`, expected ")
            .map(|(word, words)| format!("found {}, expected {}", quoted(word), one_of(words)))
    } else if message == "wanted string or table" {
        Some(format!("found {}, expected a text in quotes", cut(written)))
    } else if message.starts_with("not a UUID") && !written.is_empty() {
        Some(format!("found {}: {message}", cut(written)))
    } else {
        None
    };
    one_line(&said.unwrap_or_else(|| message.to_owned()))
}

/// Why a text is not TOML.
pub fn syntax(message: &str) -> String {
    let number = ["float", "integer", "number", "string values must be quoted", "date", "time"];
    let quotes = ["basic string", "literal string"];
    let said = if number.iter().any(|word| message.contains(word)) {
        "this is neither a number, true or false, nor a text in quotes; sizes, durations, addresses and \
         other texts need quotes, such as \"90days\""
    } else if quotes.iter().any(|word| message.contains(word)) {
        "this text is not right: it lacks the quote at its end, or has a character that must be written \
         otherwise (\\\\ for a backslash)"
    } else if message == "duplicate key" {
        "this key or section stands here a second time; leave one of them"
    } else {
        message
    };
    one_line(said)
}

/// A text out of a file or a variable without line ends and other control characters.
pub fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() {
            let _infallible = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

/// `string "a", expected a sequence`, with or without a reason between.
fn found(rest: &str, written: &str) -> Option<String> {
    let (value, between, expected) = match rest.rsplit_once("; expected ") {
        Some((value, expected)) => (value, "; ", expected),
        None => rest.rsplit_once(", expected ").map(|(value, expected)| (value, ", ", expected))?,
    };
    let within = |prefix: &str| value.strip_prefix(prefix)?.strip_suffix('`');
    let value = if let Some(text) = value.strip_prefix("string ") {
        text.to_owned()
    } else if let Some(number) = within("integer `").or_else(|| within("floating point `")) {
        number.to_owned()
    } else if let Some(truth) = within("boolean `") {
        truth.to_owned()
    } else {
        match value {
            "sequence" => "a list".to_owned(),
            // A date is a map to the deserializer.
            "map" if written.starts_with(|c: char| c.is_ascii_digit()) => cut(written),
            "map" => "a table".to_owned(),
            other => other.to_owned(),
        }
    };
    let expected = match expected {
        "a sequence" => "a list, such as [\"a\", \"b\"]",
        "a boolean" => "true or false",
        "a string" | "path string" | "string or table" => "a text in quotes",
        other => other,
    };
    Some(format!("found {value}{between}expected {expected}"))
}

/// "one of `a`, `b`, `c`" as `a, b or c`.
fn one_of(words: &str) -> String {
    let words: Vec<&str> = words.split('`').skip(1).step_by(2).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    }
}

fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(QUOTED_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, Settings};

    fn refused(text: &str) -> String {
        let parsed = Config::parse(Path::new("c.toml"), text, &Settings::default());
        parsed.expect_err(text).to_string()
    }

    #[test]
    fn a_wrong_value_is_told_in_plain_words() {
        for (text, expected) in [
            ("listen = 5", "c.toml:1: listen: found 5, expected a text in quotes"),
            ("listen = 2026-01-01", "listen: found 2026-01-01, expected a text in quotes"),
            ("listen = {a = 1}", "listen: found a table, expected a text in quotes"),
            ("tls.cert = [1]", "tls.cert: found a list, expected a text in quotes"),
            (
                "tls.names = \"a\"",
                "tls.names: found \"a\", expected a list, such as [\"a\", \"b\"]",
            ),
            ("tls.names = [5]", "tls.names: found 5, expected a text in quotes"),
            ("proxy_protocol = \"yes\"", "found \"yes\", expected true or false"),
            ("proxy_protocol = 1.5", "found 1.5, expected true or false"),
            ("limits.idle = true", "limits.idle: found true, expected a duration from 1ms to"),
            (
                "limits.idle = \"5\"",
                "limits.idle: found \"5\": it lacks a unit; expected a duration",
            ),
            ("log.level = 5", "log.level: found 5, expected a text in quotes"),
            ("log.level = \"loud\"", "found \"loud\", expected error, warn, info, debug or trace"),
            ("log.numbers = \"x\"", "log.numbers: found \"x\", expected mask or full"),
            (
                "metrics.accounts = [\"a\"]",
                "metrics.accounts: found [\"a\"]: not a UUID in its hyphenated",
            ),
            ("listen = 0.0.0.0:1", "c.toml:1: not TOML: this is neither a number, true or false"),
            ("log.level = info", "texts need quotes, such as \"90days\""),
            ("retention.age = 90d", "texts need quotes, such as \"90days\""),
            ("listen = \"a", "it lacks the quote at its end"),
            ("[log]\n[log]", "c.toml:2: not TOML: this key or section stands here a second time"),
            ("limits.foo = 1", "; the keys of [limits] are connections, body_bytes, "),
            ("foo = 1", "; the keys before the first section are data_dir, listen, "),
            ("foo.a = 1", "unknown section [foo]; the sections are tls, http, "),
        ] {
            let message = refused(text);
            assert!(message.contains(expected), "{message}\n{expected}");
            for word in ["invalid", "variant", "sequence", "boolean", "string", "float", "map"] {
                assert!(!message.contains(word), "{word}: {message}");
            }
        }
    }

    #[test]
    fn no_control_character_of_a_file_stands_in_an_error() {
        let evil = "a\\n\\u001b[31m\\tb";
        for (text, quoted) in [
            (format!("listen = \"{evil}\""), "a\\n\\u{1b}[31m\\tb"),
            (format!("http.listen = \"{evil}:1\""), "a\\n"),
            (format!("\"{evil}\" = 5"), "a\\n"),
            (format!("[\"{evil}\"]\nx = 5"), "a\\n"),
            (format!("[log]\n\"{evil}\" = 5"), "a\\n"),
            (format!("log.level = \"{evil}\""), "a\\n"),
            (format!("limits.idle = \"{evil}\""), "a\\n"),
            (format!("retention.bytes = \"{evil}\""), "a\\n"),
            (format!("proxy_protocol = \"{evil}\""), "a\\n"),
            (format!("tls.names = [\"{evil}\"]"), "a\\n"),
            (format!("http.trusted_proxies = [\"{evil}\"]"), "a\\n"),
            (format!("feature_servers.networks = [\"{evil}\"]"), "a\\n"),
            (format!("feature_servers.urls = [\"{evil}\"]"), "a\\n"),
            (format!("hooks.service_url = \"{evil}\""), "a\\n"),
            (format!("cors.allow_origin = \"{evil}\""), "a\\n"),
            (format!("metrics.accounts = [\"{evil}\"]"), "a\\n"),
            ("x = [\n1,\n\u{1}".to_owned(), "c.toml"),
        ] {
            let message = refused(&text);
            assert!(!message.contains(char::is_control), "{message:?}");
            assert!(message.contains(quoted), "{message}");
        }
    }
}
