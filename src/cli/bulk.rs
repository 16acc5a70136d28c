//! Commands that move many calls: import, export, list.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::args::{Export, ExportFormat, Import, List};
use super::execute::execute;
use super::output::Output;
use super::render;
use crate::config::Config;
use crate::ops::{self, Failure, Reply, Request};

/// Reads records from a file or from standard input into the store.
pub(super) fn import(config: &Config, import: &Import, output: &mut Output) -> Result<(), Failure> {
    let path = import.file.as_deref().filter(|path| *path != Path::new("-"));
    let (input, total): (Box<dyn Read + Send>, Option<u64>) = match path {
        None => (Box::new(io::stdin()), None),
        Some(path) => {
            let opened = File::open(path).and_then(|file| {
                let length = file.metadata()?.len();
                Ok((file, length))
            });
            let (file, length) = opened.map_err(cannot("read", path))?;
            (Box::new(file), Some(length))
        }
    };
    let mut rejects = match &import.rejects {
        None => None,
        Some(path) => Some(private(path).map_err(cannot("write", path))?),
    };
    let request = Request::Import(ops::Import {
        format: import.format.into(),
        dry_run: import.dry_run,
        on_error: import.on_error,
    });
    let read = Arc::new(AtomicU64::new(0));
    if let Some(total) = total {
        output.measured_by(read.clone(), total);
    }
    let mut input = Counted { input: BufReader::with_capacity(1 << 16, input), read };
    let complaints = RefCell::new(Vec::new());
    let mut take = |why: Option<&str>, text: &[u8]| {
        let Some(why) = why else { return Ok(()) };
        if let Some(file) = &mut rejects {
            file.write_all(text)?;
            file.write_all(b"\n")?;
        }
        let mut complaints = complaints.borrow_mut();
        if complaints.len() < COMPLAINTS_MAX {
            complaints.push(why.to_owned());
        }
        Ok(())
    };
    let answer = execute(config, request, &mut input, output, &mut take);
    output.finish();
    for complaint in complaints.into_inner() {
        output.say(&format!("left out: {complaint}"));
    }
    let answer = answer?;
    if let Some(file) = rejects {
        file.sync_all()?;
    }
    output.reply(&answer.reply, answer.running)
}

/// Complaints about single records that are shown; the file of rejects has them all.
const COMPLAINTS_MAX: usize = 20;

/// Input that counts its bytes.
struct Counted<R> {
    input: BufReader<R>,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(out)?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

impl<R: Read> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.read.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Writes records to a file, whole or not at all, or to standard output.
pub(super) fn export(config: &Config, export: Export, output: &mut Output) -> Result<(), Failure> {
    let request = Request::Export(export.select.into());
    let mut lines = Lines { format: export.format, begun: false };
    let written = match export.output {
        None => {
            let mut take = |_: Option<&str>, bytes: &[u8]| write_out(&lines.next(bytes));
            let answer = execute(config, request, &mut io::empty(), output, &mut take)?;
            output.data(lines.end())?;
            answer.reply
        }
        Some(path) => {
            let unfinished = unfinished(&path);
            let mut file = private(&unfinished).map_err(cannot("write", &unfinished))?;
            let mut take = |_: Option<&str>, bytes: &[u8]| file.write_all(&lines.next(bytes));
            let answer = execute(config, request, &mut io::empty(), output, &mut take);
            let finished = answer.and_then(|answer| {
                file.write_all(lines.end())?;
                file.sync_all()?;
                fs::rename(&unfinished, &path).map_err(cannot("write", &path))?;
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
                File::open(dir.unwrap_or(Path::new(".")))?.sync_all()?;
                Ok(answer.reply)
            });
            if finished.is_err() {
                let _already_gone = fs::remove_file(&unfinished);
            }
            finished?
        }
    };
    output.finish();
    if let Reply::Written(calls) = written {
        output.say(&format!("{calls} calls exported"));
    }
    Ok(())
}

fn write_out(bytes: &[u8]) -> io::Result<()> {
    io::stdout().lock().write_all(bytes)
}

/// Lines as they are, or as the elements of one array.
struct Lines {
    format: ExportFormat,
    begun: bool,
}

impl Lines {
    fn next(&mut self, lines: &[u8]) -> Vec<u8> {
        if self.format == ExportFormat::Ndjson {
            return lines.to_vec();
        }
        let mut out = Vec::with_capacity(lines.len() + 16);
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            out.extend_from_slice(if self.begun { b",\n" } else { b"[\n" });
            out.extend_from_slice(line);
            self.begun = true;
        }
        out
    }

    fn end(&self) -> &'static [u8] {
        match (self.format, self.begun) {
            (ExportFormat::Ndjson, _) => b"",
            (ExportFormat::Json, true) => b"\n]\n",
            (ExportFormat::Json, false) => b"[]\n",
        }
    }
}

/// Lists the newest calls: a table, or an array.
pub(super) fn list(config: &Config, list: List, output: &mut Output) -> Result<(), Failure> {
    let one_account = list.select.one_account();
    let limit = usize::try_from(list.limit).unwrap_or(usize::MAX);
    let request = Request::List { selection: list.select.into(), limit };
    let mut lines = Vec::new();
    let mut take = |_: Option<&str>, bytes: &[u8]| {
        lines.extend_from_slice(bytes);
        Ok(())
    };
    execute(config, request, &mut io::empty(), output, &mut take)?;
    if output.json {
        let mut array = Lines { format: ExportFormat::Json, begun: false };
        let mut text = array.next(&lines);
        text.extend_from_slice(array.end());
        return Ok(output.data(&text)?);
    }
    let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let calls: Vec<Value> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    output.text(&render::calls(&calls, one_account))
}

/// A new file for its owner alone: calls are nobody else's business.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn cannot(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let what = format!("cannot {action} {}", path.display());
    move |error| Failure::new(format!("{what}: {error}"))
}
