//! The rules of the code, held against every file. A rule that only stands in a document rots.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which module of `src/` may name which others. A module that is not here may not exist.
const MODULES: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    (
        "cli",
        &[
            "access", "admin", "backup", "cdrs", "clock", "cluster", "config", "doctor", "domain",
            "forward", "fsutil", "intake", "jambonz", "logs", "mirror", "ops", "outbound",
            "random", "server", "store", "tls", "users", "wire",
        ],
    ),
    (
        "server",
        &[
            "access", "admin", "cdrs", "clock", "config", "domain", "forward", "fsutil", "http",
            "intake", "logs", "meter", "mirror", "node", "ops", "outbound", "store", "tls",
            "upstream", "users",
        ],
    ),
    ("admin", &["clock", "fsutil", "intake", "logs", "ops", "store"]),
    (
        "http",
        &[
            "access", "cdrs", "clock", "config", "console", "doctor", "domain", "fsutil", "intake",
            "logs", "meter", "ops", "outbound", "random", "store", "upstream", "wire",
        ],
    ),
    ("console", &[]),
    (
        "doctor",
        &[
            "access", "admin", "cdrs", "clock", "cluster", "config", "domain", "forward", "fsutil",
            "mirror", "ops", "outbound", "store", "tls", "upstream", "users",
        ],
    ),
    (
        "ops",
        &[
            "access", "backup", "clock", "domain", "fsutil", "intake", "logs", "node", "random",
            "store", "tls", "wire",
        ],
    ),
    (
        "mirror",
        &[
            "clock", "config", "domain", "fsutil", "intake", "meter", "outbound", "store", "tls",
            "wire",
        ],
    ),
    ("intake", &["domain", "node", "store"]),
    (
        "node",
        &[
            "access", "clock", "cluster", "codec", "config", "domain", "meter", "outbound",
            "random", "store", "wire",
        ],
    ),
    ("cluster", &["access", "clock", "config", "domain", "outbound", "tls", "wire"]),
    ("cdrs", &["access", "config", "domain", "fsutil", "keys", "outbound", "tls", "wire"]),
    (
        "forward",
        &[
            "access", "clock", "config", "domain", "intake", "meter", "outbound", "random",
            "store", "tls",
        ],
    ),
    ("jambonz", &["access", "domain", "fsutil", "outbound"]),
    ("upstream", &["access", "clock", "config", "domain", "meter", "outbound", "random"]),
    ("backup", &["domain", "fsutil", "journal", "store", "wire"]),
    (
        "store",
        &[
            "access", "clock", "codec", "domain", "fsutil", "index", "journal", "keys", "logs",
            "meter", "random", "registry", "wire",
        ],
    ),
    ("registry", &["domain", "index", "keys"]),
    ("index", &["codec", "domain", "fsutil", "keys", "wire"]),
    ("journal", &["domain", "fsutil", "random"]),
    ("access", &["domain", "random"]),
    ("codec", &["access", "domain", "wire"]),
    ("keys", &["domain"]),
    ("wire", &["domain"]),
    ("clock", &["domain"]),
    ("random", &[]),
    ("config", &["domain", "fsutil", "outbound", "wire"]),
    ("outbound", &[]),
    ("logs", &["domain", "wire"]),
    ("meter", &["domain"]),
    ("fsutil", &[]),
    ("tls", &["fsutil"]),
    ("users", &["fsutil"]),
    ("domain", &[]),
    ("fuzz", &["admin", "cdrs", "codec", "domain", "http", "journal", "mirror", "wire"]),
];

/// What only one module may name, or two.
const KEPT: &[(&str, &str)] = &[
    ("sled::", "index"),
    ("csv_core::", "wire"),
    ("bincode::", "codec"),
    ("async_nats::", "cluster"),
    ("warp::", "http"),
    ("SystemTime::now", "clock"),
    ("uuid::{Builder", "random"),
    ("SystemRandom", "random"),
    ("tokio_rustls::", "server outbound"),
    ("rcgen::", "tls"),
    ("x509_parser::", "tls"),
    ("clap::CommandFactory", "cli"),
    ("prometheus_client::", "meter"),
    ("OFlags::NOFOLLOW", "fsutil"),
    ("statvfs(", "fsutil"),
    ("DirBuilder", "fsutil"),
    ("unicode_normalization::", "domain"),
];

/// Words that a reader would have to learn first, and what is said instead.
const WORDS: &[(&str, &str)] = &[
    ("bearer of a purse", "owner of a permit"),
    ("census", "usage"),
    ("coin", "permit"),
    ("coins", "permits"),
    ("crowd", "stream limit, clients"),
    ("deed", "action, audit event"),
    ("deeds", "audit events"),
    ("facets", "index keys"),
    ("guest", "connection"),
    ("guests", "connections"),
    ("keeper", "checkpointer"),
    ("moved aside", "quarantined"),
    ("patience", "timeout, backpressure"),
    ("pulse", "watchdog"),
    ("purse", "budget"),
    ("purses", "budget"),
    ("splitter", "record reader"),
    ("survey", "retention, journal scan"),
    ("whoever", "the client, the caller"),
    ("limits.followers", "limits.event_streams"),
];

/// Names of types and constants that are not given again.
const NAMES: &[&str] = &[
    "Beyond", "COIN", "Census", "Deed", "Facets", "Fate", "Guest", "Known", "Manner", "Mark",
    "Mend", "Noted", "Paid", "Patience", "Place", "Purse", "Purses", "Refusal", "Reply",
    "Sentence", "Sheet", "Slot", "Splitter", "Survey", "Tally", "Told",
];

/// Names of files that are not given again.
const FILES: &[&str] = &[
    "alone", "bodies", "collect", "contests", "crowd", "cut", "deeds", "door", "explain", "fit",
    "form", "ground", "guard", "handed", "keeper", "laws", "newest", "online", "peers", "pin",
    "place", "pressure", "pulse", "purse", "sheet", "siege", "split", "survey", "turns",
];

/// Modules that open files where somebody else may have put something, and what opens them by name.
const CAREFUL: &[&str] = &["store", "backup", "journal", "index", "ops", "tls"];
const BY_NAME: &[&str] = &[
    "File::open(",
    "File::create(",
    "File::options(",
    "OpenOptions",
    "fs::read(",
    "fs::read_to_string(",
    "fs::write(",
];

#[test]
fn each_module_names_only_the_modules_below_it() {
    let names: BTreeSet<&str> = MODULES.iter().map(|(module, _)| *module).collect();
    let files = sources("src");
    for (path, text) in &files {
        let module = module(path);
        let Some((_, below)) = MODULES.iter().find(|(name, _)| *name == module) else {
            panic!("{}: the module `{module}` is not in the table", path.display());
        };
        let named = named(text, if module == "main" { "rollcall::" } else { "crate::" });
        for other in named.into_iter().filter(|name| names.contains(name.as_str())) {
            let allowed = other == module || below.contains(&other.as_str());
            assert!(allowed, "{}: `{module}` may not name `{other}`", path.display());
        }
    }
    assert!(files.len() > 60, "only {} files were seen", files.len());
    for (module, _) in MODULES {
        let seen = files.iter().any(|(path, _)| self::module(path) == *module);
        assert!(seen, "the module `{module}` of the table is gone");
    }
}

#[test]
fn no_module_goes_around_the_table_by_way_of_its_parents() {
    let files = sources("src");
    let mut chains = 0;
    for (path, text) in &files {
        let depth = depth(path);
        let inline = text.find("\nmod tests {").unwrap_or(text.len());
        for (at, _) in text.match_indices("super::") {
            if text[..at].ends_with("super::") {
                continue;
            }
            chains += 1;
            let steps = text[at..].split("super::").take_while(|part| part.is_empty()).count();
            // Tests within a file are one module further down.
            let depth = depth + usize::from(at > inline);
            assert!(steps < depth.max(1), "{}: `super::` leads to the root", path.display());
        }
    }
    assert!(chains > 100, "only {chains} were seen");
}

#[test]
fn what_is_replaceable_is_named_in_one_module() {
    let files = sources("src");
    for (name, checkpointer) in KEPT {
        let mut kept = 0;
        for (path, text) in &files {
            // A test of another module may play the part of what damages a file.
            if is_test(path) {
                continue;
            }
            for line in code(text).filter(|line| line.contains(name)) {
                let keeps =
                    checkpointer.split(' ').any(|checkpointer| module(path) == checkpointer);
                assert!(keeps, "{}: {line}", path.display());
                kept += 1;
            }
        }
        assert!(kept > 0, "nothing names `{name}` any more");
    }
}

#[test]
fn nothing_is_opened_by_its_name_where_others_may_have_put_it() {
    let mut seen = 0;
    for (path, text) in sources("src") {
        if is_test(&path) || !CAREFUL.contains(&module(&path).as_str()) {
            continue;
        }
        seen += 1;
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for line in code(text) {
            let found = BY_NAME.iter().find(|name| line.contains(*name));
            assert!(found.is_none(), "{}: use `crate::fsutil`: {line}", path.display());
        }
    }
    assert!(seen > 50, "only {seen} files were seen");
}

#[test]
fn lints_are_expected_and_not_allowed_and_nothing_is_left_to_do() {
    // Put together here, so that this file does not find itself.
    let words = [
        ["#[", "allow("],
        ["#![", "allow("],
        ["TO", "DO"],
        ["FIX", "ME"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["dbg", "!("],
        // See `src/random.rs`.
        ["Uuid::", "new_v4"],
    ]
    .map(|word| word.concat());
    let files = everything();
    for (path, text) in &files {
        for (number, line) in (1..).zip(text.lines()) {
            for word in &words {
                assert!(!line.contains(word), "{}:{number}: {line}", path.display());
            }
        }
    }
    assert!(files.len() > 75, "only {} files were seen", files.len());
}

#[test]
fn the_words_are_those_of_rust_and_telephony() {
    let mut files = everything();
    for dir in ["docs", "systemd", "packaging"] {
        files.extend(texts(dir));
    }
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "config.example.toml"] {
        files.push((PathBuf::from(name), fs::read_to_string(root().join(name)).unwrap()));
    }
    assert!(files.len() > 100, "only {} files were seen", files.len());
    let mut found = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| !path.ends_with("tidy.rs")) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if (path.starts_with("src") || path.starts_with("benches")) && FILES.contains(&stem) {
            found.push(format!("{}: a file of that name", path.display()));
        }
        for (number, line) in (1..).zip(text.lines()) {
            let lower = line.to_lowercase();
            let words = WORDS.iter().filter(|(word, _)| has_word(&lower, word));
            found.extend(words.map(|(word, instead)| {
                format!("{}:{number}: {word:?}; say {instead}", path.display())
            }));
            if path.extension().is_some_and(|kind| kind == "rs") {
                let names = NAMES.iter().filter(|name| defines(line, name));
                found.extend(names.map(|name| format!("{}:{number}: {name}", path.display())));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What is left where a line of a text was joined to the next by hand.
#[test]
fn no_text_has_a_run_of_spaces_between_its_words() {
    let mut found = Vec::new();
    for (path, text) in sources("src") {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines.filter(|line| line.contains('"')) {
            let mut parts = line.trim().split("      ").filter(|part| !part.is_empty());
            let words = parts.next().is_some_and(|part| part.ends_with(char::is_alphabetic));
            if words && parts.next().is_some() {
                found.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_statement_takes_a_lock_twice() {
    // The first guard lives to the statement's end; a writer that came between waits for it, and the
    // second waits for the writer.
    let mut seen = 0;
    for (path, text) in sources("src") {
        let text: String = code(&text).collect::<Vec<_>>().join(" ");
        for statement in text.split([';', '{', '}']) {
            for lock in [".read()", ".write()", ".lock()"] {
                let mut owners: Vec<_> = statement
                    .match_indices(lock)
                    .map(|(at, _)| {
                        let before = &statement[..at];
                        let part = |c: char| c.is_alphanumeric() || "_.:".contains(c);
                        &before[before.trim_end_matches(part).len()..]
                    })
                    .filter(|owner| !owner.is_empty())
                    .collect();
                seen += owners.len();
                let all = owners.len();
                owners.sort_unstable();
                owners.dedup();
                assert_eq!(owners.len(), all, "{}: {statement}", path.display());
            }
        }
    }
    assert!(seen > 50, "only {seen} locks were seen");
}

/// Whether a word stands in a text by itself, or as a part of a name.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !letter(text[..at].chars().next_back()) && !letter(text[at + word.len()..].chars().next())
    })
}

fn defines(line: &str, name: &str) -> bool {
    ["struct ", "enum ", "trait ", "type ", "const "].iter().any(|kind| {
        line.split_once(kind).is_some_and(|(_, rest)| {
            rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        })
    })
}

/// All texts below a directory.
fn texts(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    found
}

#[test]
fn tests_wait_for_conditions_and_not_for_time() {
    let files = everything();
    let words = [["thread::", "sleep"], ["time::", "sleep("], ["new(\"", "sleep\")"]];
    let mut seen = 0;
    // A benchmark asks at a pace of its own.
    let tests = files.iter().filter(|(path, _)| is_test(path) && !path.starts_with("benches"));
    for (path, text) in tests {
        for line in code(text) {
            let sleeps = words.iter().any(|word| line.contains(&word.concat()));
            // A turn of a loop that waits for a condition.
            let turn = path.starts_with("src") && line.contains("from_millis(2)).await");
            assert!(!sleeps || turn, "{}: {line}", path.display());
        }
        seen += 1;
    }
    assert!(seen > 15, "only {seen} files were seen");
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let mut links = 0;
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].iter().map(PathBuf::from).collect();
    let others = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let others = others.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    documents.extend(others.map(|path| path.strip_prefix(root()).unwrap().to_owned()));
    for path in documents {
        let name = path.display();
        let text = fs::read_to_string(root().join(&path)).unwrap_or_else(|e| panic!("{name}: {e}"));
        for link in text.split("](").skip(1) {
            let target = link.split([')', ' ']).next().unwrap();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, part) = target.split_once('#').unwrap_or((target, ""));
            let beside = match file {
                "" => root().join(&path),
                file => root().join(&path).parent().unwrap().join(file),
            };
            assert!(beside.exists(), "{name}: {target} is not there");
            if !part.is_empty() {
                let text = fs::read_to_string(&beside).unwrap();
                let there = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(there.into_iter().any(|it| it == part), "{name}: {target} is not there");
            }
            links += 1;
        }
    }
    assert!(links > 2, "only {links} links were seen");
}

/// What a heading is called in links.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = plain.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn files_that_the_documents_name_are_there() {
    let mut seen = 0;
    for (path, text) in everything() {
        for word in text.split(['`', '"']) {
            let ours = ["src/", "tests/", "systemd/", "benches/"];
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            if ours.iter().any(|dir| word.starts_with(dir)) && word.chars().all(plain) {
                let there = root().join(word).exists();
                assert!(there, "{} names {word}, which is not there", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 3, "only {seen} names were seen");
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    !path.starts_with("src") || name.ends_with("tests") || path.iter().any(|dir| dir == "tests")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files of the project, by their paths within it.
fn everything() -> Vec<(PathBuf, String)> {
    ["src", "tests", "benches"].into_iter().flat_map(sources).collect()
}

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    files.sort();
    files
}

/// The first name below `src`.
fn module(path: &Path) -> String {
    let first = path.iter().nth(1).unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// How many modules deep a file is: `src/lib.rs` 0, `src/ops/mod.rs` 1, `src/ops/tokens.rs` 2.
fn depth(path: &Path) -> usize {
    let names: Vec<_> = path.iter().skip(1).map(|name| name.to_str().unwrap()).collect();
    let last = names.last().copied().unwrap();
    names.len() - usize::from(matches!(last, "mod.rs" | "lib.rs" | "main.rs"))
}

/// The first names of all paths that begin so, in code and in comments.
fn named(text: &str, start: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in text.split(start).skip(1) {
        match rest.strip_prefix('{') {
            None => names.extend(word(rest)),
            Some(group) => {
                let mut level = 0;
                let mut begins = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => level += 1,
                        '}' if level == 0 => break,
                        '}' => level -= 1,
                        ',' if level == 0 => begins = true,
                        c if begins && !c.is_whitespace() => {
                            names.extend(word(&group[at..]));
                            begins = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

fn word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    Some(text[..end].to_owned()).filter(|word| !word.is_empty())
}

/// Lines without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(|line| match line.find("//") {
        Some(at) if line[..at].trim().is_empty() || line[..at].ends_with(' ') => &line[..at],
        _ => line,
    });
    lines.filter(|line| !line.trim().is_empty())
}
