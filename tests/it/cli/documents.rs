//! What the documents say of the command line and of the configuration is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::harness::{ROLLCALL, print};

const DOCUMENTS: [&str; 7] = [
    "README.md",
    "docs/cluster.md",
    "docs/connect.md",
    "docs/compatibility.md",
    "docs/containers.md",
    "docs/operations.md",
    "docs/portal.md",
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
    let sections: BTreeSet<_> =
        keys.iter().filter_map(|key| Some(key.rsplit_once('.')?.0)).collect();
    let mut seen = 0;
    for name in DOCUMENTS {
        for line in code(&text(name)) {
            let word = line.split([' ', '=']).next().unwrap();
            let Some((section, key)) = word.rsplit_once('.') else { continue };
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

/// The commands that a help text names, each with all its words.
fn all_commands(words: &[String]) -> Vec<Vec<String>> {
    let help = print(Command::new(ROLLCALL).args(words).arg("--help"), b"");
    assert_eq!(help.code, Some(0), "{words:?}: {help:?}");
    let mut all = vec![words.to_vec()];
    let Some((_, commands)) = help.stdout.split_once("\nCommands:\n") else { return all };
    for line in commands.lines().take_while(|line| !line.is_empty()) {
        let Some(name) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) else {
            continue;
        };
        let name = name.split_whitespace().next().unwrap();
        if name != "help" {
            all.extend(all_commands(&[words, &[name.to_owned()]].concat()));
        }
    }
    all
}

/// The commands of an example, each with its own name first: those of a pipe may run on another machine.
fn commands_of(line: &str) -> Vec<Vec<&str>> {
    line.split(" | ")
        .map(|part| {
            let given: Vec<&str> = part.split(' ').collect();
            let given = if given[0] == "ssh" { given[2..].to_vec() } else { given };
            assert_eq!(given[0], "rollcall", "{line}");
            given
        })
        .collect()
}

#[test]
fn every_command_has_examples_and_the_program_takes_each() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("pages");
    assert_eq!(print(Command::new(ROLLCALL).arg("man").arg(&pages), b"").code, Some(0));
    let (mut commands, mut seen) = (0, 0);
    for words in all_commands(&[]) {
        commands += 1;
        let help = print(Command::new(ROLLCALL).args(&words).arg("--help"), b"").stdout;
        let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{words:?}"));
        let page = [&["rollcall".to_owned()], &words[..]].concat().join("-") + ".1";
        let page = fs::read_to_string(pages.join(&page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        let page = page.replace("\\-", "-");
        assert!(page.contains("Examples:"), "{words:?}");
        for line in examples.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let all = commands_of(line);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let about = words.is_empty() || all.iter().any(|given| given[1..].starts_with(&words));
            assert!(about, "{line}");
            assert!(page.contains(line), "{line} is not in the manual: {page}");
            for given in all {
                // A configuration that is not there stops it once its words are understood.
                let mut command = Command::new(ROLLCALL);
                command.args(&given[1..]).current_dir(dir.path());
                if !given.contains(&"--config") {
                    command.env("ROLLCALL_CONFIG", "/nonexistent/rollcall.toml");
                }
                let printed = print(&mut command, b"");
                let understood = !printed.stderr.contains("error: ");
                assert!(understood, "{line}: {printed:?}");
                let written = line.starts_with("rollcall man ") && printed.code == Some(0);
                assert!(
                    written
                        || printed.stderr.contains("rollcall.toml")
                        || printed.stdout.contains("rollcall"),
                    "{line}: {printed:?}"
                );
            }
            seen += 1;
        }
    }
    assert!(commands > 25 && seen > 45, "{commands} commands, {seen} examples");
}
