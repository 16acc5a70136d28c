//! What the documents say of the command line and of the configuration is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::harness::{ROLLCALL, print};

const DOCUMENTS: [&str; 5] = [
    "README.md",
    "docs/connect.md",
    "docs/compatibility.md",
    "docs/containers.md",
    "docs/operations.md",
];

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Everything that stands in code: spans, and lines of blocks.
fn code(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, part) in document.split("```").enumerate() {
        if number % 2 == 1 {
            found.extend(part.replace("\\\n", " ").lines().map(str::to_owned));
        } else {
            found.extend(part.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")));
        }
    }
    found
}

/// The commands in a line of code, each as its words.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    // The user of that name comes before the command of that name.
    let Some(at) = words.iter().rposition(|word| *word == "rollcall") else { return Vec::new() };
    let is_word = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b"\\|".contains(&b));
    let own: Vec<_> = words[at + 1..].iter().take_while(|word| is_word(word)).collect();
    let flags = words[at + 1..].iter().filter(|word| word.starts_with("--"));
    let flags: Vec<_> = flags.map(|word| word.split('=').next().unwrap().to_owned()).collect();
    let Some(first) = own.first() else { return Vec::new() };
    let seconds = own.get(1).map_or(vec![], |second| second.split("\\|").collect());
    let all = if seconds.is_empty() { vec![""] } else { seconds };
    let command = |second: &str| {
        let words = [**first, second].into_iter().filter(|word| !word.is_empty());
        words.map(str::to_owned).chain(flags.iter().cloned()).collect()
    };
    all.into_iter().map(command).collect()
}

#[test]
fn commands_and_flags_that_the_documents_name_are_there() {
    let mut seen = BTreeSet::new();
    for name in DOCUMENTS {
        for words in code(&text(name)).iter().flat_map(|line| commands(line)) {
            // `systemctl enable --now rollcall` and the like end with the name.
            let (flags, own): (Vec<_>, Vec<_>) =
                words.iter().partition(|word| word.starts_with("--"));
            let help = print(Command::new(ROLLCALL).args(&own).arg("--help"), b"");
            assert_eq!(help.code, Some(0), "{name}: {words:?}: {help:?}");
            for flag in flags {
                let there = help.stdout.contains(&format!("{flag} "))
                    || help.stdout.contains(&format!("{flag}\n"));
                assert!(there, "{name}: {words:?}: no {flag} in\n{}", help.stdout);
            }
            seen.insert(own[0].clone());
        }
    }
    for command in ["serve", "backup", "restore", "purge", "expire", "cert", "doctor", "token"] {
        assert!(seen.contains(command), "{seen:?}");
    }
}

#[test]
fn keys_that_the_documents_name_are_there() {
    let example = text("config.example.toml");
    let mut keys = BTreeSet::new();
    let mut section = String::new();
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            keys.insert(format!("{section}.{key}"));
        }
    }
    let sections: BTreeSet<_> = keys.iter().map(|key| key.split('.').next().unwrap()).collect();
    let mut seen = 0;
    for name in DOCUMENTS {
        for line in code(&text(name)) {
            let word = line.split([' ', '=']).next().unwrap();
            let Some((section, key)) = word.split_once('.') else { continue };
            let plain = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            // A file that happens to be called like a section.
            let file = ["key", "pem"].contains(&key) && section != "tls";
            if !section.is_empty()
                && sections.contains(section)
                && plain
                && !key.is_empty()
                && !file
            {
                assert!(keys.contains(word), "{name}: there is no key {word}");
                seen += 1;
            }
        }
    }
    assert!(seen > 15, "only {seen} keys were seen");
}
