//! Commands that move many calls: import, export, list.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal as _, Read, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::calls::{Export, ImportArgs, ListArgs};
use super::endings;
use super::execute::{execute, execute_or_make};
use super::listing;
use super::output::{Output, named};
use super::owner::outside;
use super::paths;
use super::screen::Screen;
use super::words::ExportFormat;
use crate::clock;
use crate::config::Config;
use crate::domain::counted;
use crate::fsutil;
use crate::ops::{self, AdminReply, AdminRequest, Failure, OnError};

/// Reads records from a file or from standard input into the store.
pub(super) fn import(
    config: &Config,
    import: &ImportArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let path = import.file.as_deref().filter(|path| *path != Path::new("-"));
    let (input, total): (Box<dyn Read + Send>, Option<u64>) = match path {
        None => (Box::new(io::stdin()), None),
        Some(path) => {
            let opened = File::open(path).and_then(|file| {
                let about = file.metadata()?;
                if about.is_dir() {
                    return Err(ErrorKind::IsADirectory.into());
                }
                Ok((file, about.len()))
            });
            let (file, length) = opened.map_err(cannot("read", path))?;
            (Box::new(file), Some(length))
        }
    };
    let mut rejects = rejects(import, path, &config.data_dir)?;
    let request = AdminRequest::Import(ops::Import {
        format: import.format.into(),
        dry_run: import.dry_run,
        on_error: import.on_error,
    });
    let read = Arc::new(AtomicU64::new(0));
    if let Some(total) = total {
        output.measured_by(read.clone(), total);
    }
    let name = path.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let mut input = CountedInput { input: BufReader::with_capacity(1 << 16, input), read, name };
    let complaints = RefCell::new(Vec::new());
    let mut take = |why: Option<&str>, text: &[u8]| {
        let Some(why) = why else { return Ok(()) };
        if let Some((file, path)) = &mut rejects {
            let written = file.write_all(text).and_then(|()| file.write_all(b"\n"));
            written.map_err(|error| named(path.display(), &error))?;
        }
        let mut complaints = complaints.borrow_mut();
        if complaints.len() < COMPLAINTS_MAX {
            complaints.push(why.to_owned());
        }
        Ok(())
    };
    let name = input.name.clone();
    let init = (import.init && !import.dry_run).into();
    let answer = execute_or_make(config, init, request, &mut input, output, &mut take);
    output.finish();
    for complaint in complaints.into_inner() {
        output.say(&format!("left out: {complaint}"));
    }
    let answer = answer?;
    if let Some((file, path)) = rejects {
        // A pipe cannot be synced, and need not.
        let synced = if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) };
        synced.map_err(cannot("write", path))?;
    }
    if matches!(&answer.reply, AdminReply::Imported(summary) if summary.records == 0) {
        output.say(&format!("note: there is no record in {name}"));
    }
    output.reply(&answer.reply, answer.running)
}

/// The file for records that are left out. It may be anything but the file that is read.
fn rejects<'a>(
    import: &'a ImportArgs,
    input: Option<&Path>,
    data_dir: &Path,
) -> Result<Option<(File, &'a Path)>, Failure> {
    let Some(path) = import.rejects.as_deref() else { return Ok(None) };
    outside(path, data_dir)?;
    if import.on_error != OnError::Skip {
        return Err(Failure::usage("--rejects needs --on-error skip: else no record is left out"));
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(cannot("write", path))?;
    let about = file.metadata().map_err(cannot("write", path))?;
    let read = fs::metadata(input.unwrap_or(Path::new("/dev/stdin")));
    if read.is_ok_and(|read| (read.dev(), read.ino()) == (about.dev(), about.ino())) {
        let path = path.display();
        return Err(Failure::usage(format!("--rejects {path}: that is the file to be imported")));
    }
    if about.is_file() {
        file.set_len(0).map_err(cannot("write", path))?;
    }
    Ok(Some((file, path)))
}

/// Complaints about single records that are shown; the file of rejects has them all.
const COMPLAINTS_MAX: usize = 20;

/// Input that counts its bytes, and whose errors say its name.
struct CountedInput<R> {
    input: BufReader<R>,
    read: Arc<AtomicU64>,
    name: String,
}

impl<R> CountedInput<R> {
    fn named(name: &str, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{name}: {error}"))
    }
}

impl<R: Read> Read for CountedInput<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(out).map_err(|error| Self::named(&self.name, &error))?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

impl<R: Read> BufRead for CountedInput<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf().map_err(|error| Self::named(&self.name, &error))
    }

    fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.read.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Writes records to a file, whole or not at all, or to standard output.
pub(super) fn export(config: &Config, export: Export, output: &mut Output) -> Result<(), Failure> {
    let format = endings::export(export.output.as_deref(), export.format)?;
    let request = export.request(format)?;
    let hint = export.select.hint();
    let bytes = Arc::new(AtomicU64::new(0));
    output.measured_by_output(bytes.clone());
    let count = |bytes_now: usize| {
        bytes.fetch_add(bytes_now as u64, Ordering::Relaxed);
    };
    let mut lines = ExportLines::new(format);
    let target = match export.output.filter(|path| path != Path::new("-")) {
        None => {
            if io::stdout().is_terminal() {
                output.be_still();
            }
            ExportTarget::Stream(Box::new(io::stdout()), "standard output".to_owned())
        }
        Some(path) => {
            outside(&path, &config.data_dir)?;
            ExportTarget::at(path)?
        }
    };
    let written = match target {
        ExportTarget::Stream(mut stream, name) => {
            let mut put = |bytes: &[u8]| {
                let written = stream.write_all(bytes).and_then(|()| stream.flush());
                written.map_err(|error| named(&name, &error))
            };
            let mut take = |_: Option<&str>, bytes: &[u8]| {
                count(bytes.len());
                put(&lines.next(bytes))
            };
            let answer = execute(config, request, &mut io::empty(), output, &mut take)?;
            put(lines.end()).inspect_err(|error| output.noticed(error))?;
            answer.reply
        }
        ExportTarget::File(path) => {
            let unfinished = unfinished(&path);
            let written = (|| {
                let mut file = fsutil::create(&unfinished).map_err(cannot("write", &path))?;
                let mut take = |_: Option<&str>, bytes: &[u8]| {
                    count(bytes.len());
                    let written = file.write_all(&lines.next(bytes));
                    written.map_err(|error| named(path.display(), &error))
                };
                let answer = execute(config, request, &mut io::empty(), output, &mut take)?;
                let written = file.write_all(lines.end()).and_then(|()| file.sync_all());
                let written = written.and_then(|()| fsutil::rename(&unfinished, &path));
                written.map_err(cannot("write", &path))?;
                Ok::<_, Failure>(answer.reply)
            })();
            if written.is_err() {
                let _already_gone = fs::remove_file(&unfinished);
            }
            written?
        }
    };
    output.finish();
    if let AdminReply::Written(calls) = written {
        output.say(&format!("{} exported", counted(calls, "call")));
        if let Some(hint) = hint.filter(|_| calls == 0) {
            output.say(&hint);
        }
    }
    Ok(())
}

/// Where an export goes.
enum ExportTarget {
    /// A file that is written beside its place and then renamed.
    File(PathBuf),
    /// A pipe or a device, which nothing may take the place of.
    Stream(Box<dyn Write>, String),
}

impl ExportTarget {
    fn at(path: PathBuf) -> Result<Self, Failure> {
        // What a link leads to is replaced, and not the link.
        let path = fs::canonicalize(&path).unwrap_or(path);
        match fs::metadata(&path) {
            Ok(there) if !there.is_file() => {
                let stream = OpenOptions::new().write(true).open(&path);
                let stream = stream.map_err(cannot("write", &path))?;
                Ok(Self::Stream(Box::new(stream), path.display().to_string()))
            }
            _ => Ok(Self::File(path)),
        }
    }
}

/// Lines as they are, or as the elements of one array.
struct ExportLines {
    format: ExportFormat,
    begun: bool,
    /// A line whose end has not come yet: pieces end anywhere.
    rest: Vec<u8>,
}

impl ExportLines {
    fn new(format: ExportFormat) -> Self {
        Self { format, begun: false, rest: Vec::new() }
    }

    fn next(&mut self, lines: &[u8]) -> Vec<u8> {
        if self.format != ExportFormat::Json {
            return lines.to_vec();
        }
        self.rest.extend_from_slice(lines);
        let end = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let rest = self.rest.split_off(end);
        let whole = std::mem::replace(&mut self.rest, rest);
        let mut out = Vec::with_capacity(whole.len() + 16);
        for line in whole.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            out.extend_from_slice(if self.begun { b",\n" } else { b"[\n" });
            out.extend_from_slice(line);
            self.begun = true;
        }
        out
    }

    fn end(&self) -> &'static [u8] {
        match (self.format, self.begun) {
            (ExportFormat::Ndjson | ExportFormat::Csv, _) => b"",
            (ExportFormat::Json, true) => b"\n]\n",
            (ExportFormat::Json, false) => b"[]\n",
        }
    }
}

/// Lists the newest calls: a table, or an array.
pub(super) fn list(config: &Config, list: ListArgs, output: &mut Output) -> Result<(), Failure> {
    if list.follow {
        return follow(config, list, output);
    }
    let one_account = list.select.one_account();
    let hint = list.select.hint();
    let limit = list.limit.unwrap_or(LIST_USUAL);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let request = AdminRequest::List { selection: list.select.into(), limit };
    let mut lines = Vec::new();
    let mut take = |_: Option<&str>, bytes: &[u8]| {
        lines.extend_from_slice(bytes);
        Ok(())
    };
    execute(config, request, &mut io::empty(), output, &mut take)?;
    if let Some(hint) = hint.filter(|_| lines.is_empty()) {
        output.finish();
        output.say(&hint);
    }
    if output.json {
        let mut array = ExportLines::new(ExportFormat::Json);
        let mut text = array.next(&lines);
        text.extend_from_slice(array.end());
        output.finish();
        return Ok(output.data(&text)?);
    }
    let calls = members(&lines);
    let Some(screen) = Screen::of_stdout().filter(|_| !list.wide) else {
        return output.text(&listing::whole(&calls, one_account));
    };
    let (text, aside) = listing::short(&calls, one_account, screen, clock::now());
    output.text(&text)?;
    if let Some(aside) = aside {
        output.say(aside);
    }
    Ok(())
}

/// Calls that a list has at most where nothing else is asked for.
const LIST_USUAL: u32 = 50;

/// Shows calls as they come, until the user ends it.
fn follow(config: &Config, list: ListArgs, output: &mut Output) -> Result<(), Failure> {
    output.be_still();
    let json = output.json;
    let screen = Screen::of_stdout().filter(|_| !list.wide);
    let mut shown = listing::FollowLines::new(list.select.one_account(), screen);
    let limit = list.limit.map(u64::from);
    let request = AdminRequest::Follow { selection: list.select.into(), limit };
    let mut stdout = io::stdout();
    let mut rest = Vec::new();
    let mut take = |_: Option<&str>, bytes: &[u8]| {
        let mut put = |text: &[u8]| {
            let written = stdout.write_all(text).and_then(|()| stdout.flush());
            written.map_err(|error| named("standard output", &error))
        };
        if bytes.is_empty() {
            // From now on nothing is missed.
            return if json { Ok(()) } else { put(shown.head().as_bytes()) };
        }
        // A call of many bytes comes in pieces.
        rest.extend_from_slice(bytes);
        let end = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let whole: Vec<u8> = rest.drain(..end).collect();
        if json {
            return put(&whole);
        }
        let now = clock::now();
        let lines = members(&whole);
        lines.iter().try_for_each(|call| put(shown.line(call, now).as_bytes()))
    };
    execute(config, request, &mut io::empty(), output, &mut take).map(|_| ())
}

/// The calls of some lines.
fn members(lines: &[u8]) -> Vec<listing::Members> {
    let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// A name of this process alone, so that two exports do not write into each other.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

fn cannot(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| paths::failure(action, path, &error)
}
