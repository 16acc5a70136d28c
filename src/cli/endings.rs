//! What the ending of a file's name promises, and whether that is what is written.

use std::path::Path;

use super::words::ExportFormat;
use crate::ops::Failure;

/// Endings of what is packed or encrypted, which no command writes under that name.
const PACKED: [&str; 31] = [
    "7z", "age", "asc", "br", "bz2", "cab", "cpio", "enc", "gpg", "gz", "iso", "jar", "lz", "lz4",
    "lzma", "lzo", "pgp", "rar", "sz", "tar", "tbz", "tbz2", "tgz", "tlz", "txz", "tzst", "xz",
    "z", "zip", "zipx", "zst",
];
/// Endings of tables, documents and databases.
const DOCUMENTS: [&str; 17] = [
    "csv", "db", "json", "jsonl", "ndjson", "ods", "parquet", "pdf", "sql", "sqlite", "sqlite3",
    "tsv", "xls", "xlsx", "xml", "yaml", "yml",
];
/// The forms of one file that a backup has.
const ARCHIVE: &str = ".tar.zst";
const ENCRYPTED: &str = ".tar.zst.age";

/// The name of a file, and its ending in small letters.
fn ending(path: &Path) -> Option<(&str, String)> {
    let name = path.file_name()?.to_str()?;
    let (before, ending) = name.rsplit_once('.')?;
    // A name that begins with its only dot has no ending.
    (!before.is_empty()).then(|| (name, ending.to_ascii_lowercase()))
}

/// Refuses a target of a backup whose name promises what it will not be. `encrypts` is whether there are
/// recipients.
pub(super) fn backup(target: &Path, encrypts: bool, keep: bool) -> Result<(), Failure> {
    let Some((name, ending)) = ending(target) else { return Ok(()) };
    let is_archive = !keep && (name.ends_with(ARCHIVE) || name.ends_with(ENCRYPTED));
    let promises = [&PACKED[..], &DOCUMENTS, &["partial"]].concat().contains(&ending.as_str());
    // A directory that the user has made may have any name.
    if is_archive || !promises || target.is_dir() {
        return Ok(());
    }
    if keep {
        return Err(Failure::usage(format!(
            "{}: with --keep that is a directory, in which backups are made, and .{ending} promises \
             something else; give a directory",
            target.display()
        )));
    }
    let right = if encrypts { ENCRYPTED } else { ARCHIVE };
    let stem = stem(name);
    let how = match (encrypts, ending.as_str()) {
        (false, "age" | "gpg" | "pgp" | "asc" | "enc") => {
            format!("; to encrypt it, call it {stem}{ENCRYPTED} and say by --encrypt-to to whom")
        }
        (false, "csv" | "json" | "jsonl" | "ndjson") => {
            "; calls in that form are written by `rollcall export`".to_owned()
        }
        _ => String::new(),
    };
    Err(Failure::usage(format!(
        "{}: a backup is a directory, or one file that ends in {ARCHIVE}, or in {ENCRYPTED} with \
         --encrypt-to, and nothing else is written under .{ending}; call it {stem}, or {stem}{right}{how}",
        target.display()
    )))
}

/// A name without all endings that promise anything.
fn stem(name: &str) -> &str {
    let mut stem = name;
    while let Some((before, ending)) = stem.rsplit_once('.') {
        let ending = ending.to_ascii_lowercase();
        let known = [&PACKED[..], &DOCUMENTS, &["partial"]].concat().contains(&ending.as_str());
        if before.is_empty() || !known {
            break;
        }
        stem = before;
    }
    stem
}

/// The form in which calls are written to this file: as it is asked for, or as its ending says.
pub(super) fn export(
    path: Option<&Path>,
    asked: Option<ExportFormat>,
) -> Result<ExportFormat, Failure> {
    let default = asked.unwrap_or(ExportFormat::Ndjson);
    let Some(path) = path.filter(|path| *path != Path::new("-")) else { return Ok(default) };
    // The reader of a pipe may make of it what its name says.
    if path.metadata().is_ok_and(|about| !about.is_file()) {
        return Ok(default);
    }
    let Some((name, ending)) = ending(path) else { return Ok(default) };
    let shown = path.display();
    let promised = match ending.as_str() {
        "ndjson" | "jsonl" => ExportFormat::Ndjson,
        "json" => ExportFormat::Json,
        "csv" => ExportFormat::Csv,
        packed if PACKED.contains(&packed) => {
            let stem = stem(name);
            return Err(Failure::usage(format!(
                "{shown}: an export is neither packed nor encrypted, as .{packed} promises; call it \
                 {stem}.ndjson, or pass it on: rollcall export | gzip > {stem}.ndjson.gz"
            )));
        }
        other if DOCUMENTS.contains(&other) => {
            let stem = stem(name);
            return Err(Failure::usage(format!(
                "{shown}: calls are written as .ndjson, .json or .csv, and not as .{other}; for a \
                 spreadsheet call it {stem}.csv and give --spreadsheet"
            )));
        }
        _ => return Ok(default),
    };
    match asked {
        Some(asked) if asked != promised => Err(Failure::usage(format!(
            "{shown}: with --format {} it would not be what .{ending} promises; call it {}.{}, or give \
             --format {}",
            asked.name(),
            stem(name),
            asked.name(),
            promised.name()
        ))),
        _ => Ok(promised),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<impl std::fmt::Debug, Failure>, says: &str) {
        let failure = result.unwrap_err();
        assert!(
            failure.kind == crate::ops::FailureKind::Usage && failure.message.contains(says),
            "{says}: {failure}"
        );
    }

    #[test]
    fn a_backup_is_what_its_ending_promises() {
        for name in
            ["b", "b.tar.zst", "b.tar.zst.age", "2026.01.31", "b.d", ".zip", "a.zip/b", "b.old"]
        {
            backup(Path::new(name), false, false).unwrap();
        }
        for (name, says) in [
            ("b.zip", "call it b, or b.tar.zst"),
            ("b.tar", "call it b, or b.tar.zst"),
            ("b.tar.gz", "call it b, or b.tar.zst"),
            ("b.tgz", "call it b, or b.tar.zst"),
            ("b.zst", "call it b, or b.tar.zst"),
            ("b.gz", "call it b, or b.tar.zst"),
            ("b.TAR.ZST", "call it b, or b.tar.zst"),
            ("dir/b.age", "call it b.tar.zst.age and say by --encrypt-to to whom"),
            ("b.tar.age", "call it b.tar.zst.age"),
            ("b.json", "by `rollcall export`"),
            ("b.partial", "nothing else is written under .partial"),
        ] {
            refused(backup(Path::new(name), false, false), says);
        }
        refused(backup(Path::new("b.age"), true, false), "b, or b.tar.zst.age");
        refused(backup(Path::new("b.tar.zst"), false, true), "with --keep that is a directory");
        // What is there is a directory, and its name does not matter.
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("disk.zip");
        std::fs::create_dir(&named).unwrap();
        backup(&named, false, false).unwrap();
        backup(&named, false, true).unwrap();
    }

    #[test]
    fn an_export_is_what_its_ending_promises() {
        use ExportFormat::{Csv, Json, Ndjson};
        let form = |name: &str, asked| export(Some(Path::new(name)), asked);
        for (name, asked, expected) in [
            ("c.csv", None, Csv),
            ("C.CSV", None, Csv),
            ("c.json", None, Json),
            ("c.ndjson", None, Ndjson),
            ("c.jsonl", None, Ndjson),
            ("c", None, Ndjson),
            ("c.txt", None, Ndjson),
            ("c.txt", Some(Csv), Csv),
            ("c.csv", Some(Csv), Csv),
            ("-", Some(Json), Json),
            ("/dev/null", None, Ndjson),
        ] {
            assert_eq!(form(name, asked).unwrap(), expected, "{name} {asked:?}");
        }
        assert_eq!(export(None, None).unwrap(), Ndjson);
        for (name, asked, says) in [
            ("c.csv", Some(Ndjson), "call it c.ndjson, or give --format csv"),
            ("c.json", Some(Ndjson), "call it c.ndjson, or give --format json"),
            ("c.ndjson", Some(Json), "call it c.json, or give --format ndjson"),
            ("c.json.gz", None, "rollcall export | gzip > c.ndjson.gz"),
            ("c.csv.zst", Some(Csv), "neither packed nor encrypted"),
            ("c.age", None, "neither packed nor encrypted"),
            ("c.xlsx", Some(Csv), "call it c.csv and give --spreadsheet"),
            ("c.tsv", None, "not as .tsv"),
        ] {
            refused(form(name, asked), says);
        }
    }
}
