//! Importing: records in, in bounded memory, a batch at a time.

use std::borrow::Cow;
use std::io::BufRead;
use std::sync::mpsc::{Receiver, sync_channel};

use serde::{Deserialize, Serialize};

use super::{AdminContext, Emit, Failure, Item};
use crate::clock;
use crate::domain::{Timestamp, counted, was};
use crate::intake::Intake;
use crate::store::{Change, Outcome, Progress, StoreError};
use crate::wire::{
    CsvHeader, ParsedInput, RECORD_BYTES_MAX, RecordFormat, RecordReader, RecordText, parse_record,
    text_of,
};

/// Records of one batch: all of them or none.
const BATCH_RECORDS: usize = 1000;
/// Batches between the reader and the store.
const BATCHES_AHEAD: usize = 3;

/// Records for which the answer says what was left out; the summary counts all.
const NOTES_MAX: usize = 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Import {
    /// How records stand in the input.
    pub format: RecordFormat,
    /// Say what would happen, and do nothing.
    pub dry_run: bool,
    pub on_error: OnError,
}

/// What a bad record does to an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum OnError {
    /// The import ends, and nothing of the batch in which it stands is taken.
    Stop,
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    pub records: u64,
    /// Of these, not taken.
    pub rejected: u64,
    /// What became of the others.
    pub outcome: Outcome,
}

impl Import {
    pub(super) fn run(
        &self,
        intake: &Intake,
        context: &AdminContext,
        input: &mut (dyn BufRead + Send),
        emit: &mut Emit<'_>,
    ) -> Result<Summary, Failure> {
        if !self.dry_run {
            intake.store().takes_events()?;
        }
        let (batches, waiting) = sync_channel::<Vec<Change>>(BATCHES_AHEAD);
        let now = clock::now();
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || write(intake, &waiting, now, self.dry_run));
            let most = intake.batch_bytes();
            let read =
                self.read(context, input, emit, (now, most), |batch| batches.send(batch).is_ok());
            drop(batches);
            let panicked = || (0, Err(StoreError::Panicked("the import")));
            let (taken, written) = writer.join().unwrap_or_else(|_| panicked());
            // What the store says weighs more than what the reader says.
            let outcome =
                written.map_err(|error| Failure::new(self.stopped(&error.to_string(), taken)))?;
            match read {
                Ok((records, rejected)) => Ok(Summary { records, rejected, outcome }),
                Err(Stopped::Bad { why, taken }) => Err(Failure::new(self.bad(&why, taken))),
                Err(Stopped::Failed(failure)) => Err(failure),
            }
        })
    }

    fn bad(&self, why: &str, taken: u64) -> String {
        let or = match self.on_error {
            OnError::Stop => ", or leave bad records out with --on-error skip",
            OnError::Skip => "",
        };
        let (records, verb) = (counted(taken, "record"), self.verb(taken));
        let not = if self.dry_run { "would not have been" } else { "were not" };
        format!(
            "{why}; {records} before its batch {verb}, that batch and all after it {not}; \
             repair it and run the same import again (what is there already does not change){or}"
        )
    }

    fn verb(&self, records: u64) -> String {
        let was = if self.dry_run { "would have been" } else { was(records) };
        format!("{was} imported")
    }

    /// The same where it was the store that took no more.
    fn stopped(&self, why: &str, taken: u64) -> String {
        let (records, verb) = (counted(taken, "record"), self.verb(taken));
        format!(
            "{why}; {records} {verb}, and none after them; run the same import again then \
             (what is there already does not change)"
        )
    }

    /// Reads records and hands them on in batches, of so many bytes at most but for the last record. Returns how many
    /// were read and left out.
    fn read(
        &self,
        context: &AdminContext,
        input: &mut (dyn BufRead + Send),
        emit: &mut Emit<'_>,
        (now, batch_bytes): (Timestamp, usize),
        mut hand_on: impl FnMut(Vec<Change>) -> bool,
    ) -> Result<(u64, u64), Stopped> {
        let input = text_of(input).map_err(|error| Stopped::io(&error))?;
        let mut record_reader = RecordReader::new(input, self.format, RECORD_BYTES_MAX);
        let (mut records, mut rejected, mut taken, mut notes) = (0, 0, 0, 0);
        let mut bytes = 0_usize;
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        while let Some(piece) = record_reader.next_piece().map_err(|error| Stopped::io(&error))? {
            records += 1;
            let limit = record_reader.limit();
            match change(context, &piece, record_reader.csv_header(), limit, now) {
                Ok(change) => {
                    if let Some(note) = left_out(&change).filter(|_| notes < NOTES_MAX) {
                        notes += 1;
                        let note = format!("{}: {note}", place(&piece, record_reader.format()));
                        emit(Item::Note(&note)).map_err(Stopped::emit)?;
                    }
                    bytes = bytes.saturating_add(piece.text.len());
                    batch.push(change);
                }
                Err(error) => {
                    let why = format!("{}: {error}", place(&piece, record_reader.format()));
                    if self.on_error == OnError::Stop {
                        return Err(Stopped::Bad { why, taken });
                    }
                    // A quotation mark too many makes one row of all that follow: to leave it out
                    // would be to leave them out.
                    let rows = piece.text.contains(&b'\n') && record_reader.csv_header().is_some();
                    if !piece.whole && rows {
                        let why = format!("{why}; is there a quotation mark too many in it?");
                        return Err(Stopped::Bad { why, taken });
                    }
                    rejected += 1;
                    let text = match record_reader.csv_header() {
                        Some(csv_header) => csv_header.reject(&piece.text, rejected == 1),
                        None => piece.text,
                    };
                    emit(Item::Reject(&why, &text)).map_err(Stopped::emit)?;
                }
            }
            if batch.len() == BATCH_RECORDS || bytes >= batch_bytes {
                bytes = 0;
                taken += batch.len() as u64;
                if !hand_on(std::mem::take(&mut batch)) {
                    break;
                }
                batch.reserve(BATCH_RECORDS);
                let what = "importing".to_owned();
                emit(Item::Progress(Progress::steps(what, records, None)))
                    .map_err(Stopped::emit)?;
            }
        }
        if !batch.is_empty() {
            hand_on(batch);
        }
        Ok((records, rejected))
    }
}

/// Why reading ended before its time.
enum Stopped {
    /// A bad record, and how many were handed on before its batch.
    Bad {
        why: String,
        taken: u64,
    },
    Failed(Failure),
}

impl Stopped {
    fn io(error: &std::io::Error) -> Self {
        Self::Failed(Failure::new(format!("the input cannot be read: {error}")))
    }

    fn emit(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Returns how many records were taken, and what became of them or of the first batch that was not.
fn write(
    intake: &Intake,
    waiting: &Receiver<Vec<Change>>,
    now: Timestamp,
    dry: bool,
) -> (u64, Result<Outcome, StoreError>) {
    let (mut taken, mut outcome) = (0, Outcome::default());
    for batch in waiting {
        match intake.apply(&batch, now, dry) {
            Ok(done) => outcome.add(done),
            Err(error) => return (taken, Err(error)),
        }
        taken += batch.len() as u64;
    }
    (taken, Ok(outcome))
}

fn change(
    context: &AdminContext,
    piece: &RecordText,
    csv_header: Option<&CsvHeader>,
    limit: usize,
    now: Timestamp,
) -> Result<Change, String> {
    if !piece.whole {
        return Err(if piece.text.len() < limit {
            "the input ends inside this record".to_owned()
        } else {
            format!("a record has at most {}", counted(limit, "byte"))
        });
    }
    let text = std::str::from_utf8(&piece.text).map_err(|error| {
        format!("not UTF-8 at byte {}: save the file as UTF-8", error.valid_up_to())
    })?;
    let json = match csv_header {
        Some(csv_header) => csv_header.record(text).map_err(|error| error.to_string())?.into(),
        None => Cow::Borrowed(text.trim()),
    };
    if csv_header.is_none() && piece.item == 1 && !text.trim_start().starts_with(['{', '[']) {
        return Err(
            "neither JSON nor the header of a table: expected an object, an array, or names \
                    of columns with call_sid among them"
                .to_owned(),
        );
    }
    match parse_record(&json, now, &context.service_url) {
        Ok(ParsedInput::Event(event)) => Ok(Change::Imported(event)),
        Ok(ParsedInput::Record(call)) => Ok(Change::Record(call.into())),
        Err(error) => Err(error.to_string()),
    }
}

/// What of a record is too large to be kept, while the rest of it is taken.
fn left_out(change: &Change) -> Option<String> {
    let Change::Imported(event) = change else { return None };
    let names: Vec<&str> = event.left_out.names().collect();
    let more = event.left_out.count().saturating_sub(names.len() as u64);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let names = names.join(", ");
    (!names.is_empty()).then(|| {
        format!("{names}{more}: too large to be kept, and left out; the rest of the record counts")
    })
}

/// Where a record stands, in the words of its format.
fn place(piece: &RecordText, format: RecordFormat) -> String {
    match format {
        RecordFormat::Ndjson | RecordFormat::Csv => format!("line {}", piece.line),
        RecordFormat::Auto | RecordFormat::Json => {
            format!("record {} (line {})", piece.item, piece.line)
        }
    }
}
