//! How the server bears what is meant badly, what is too much, and what goes on for long, measured
//! on the real binary from a process of its own.
//!
//! ```sh
//! cargo bench --bench stress                    # idle, hostile
//! cargo bench --bench stress -- idle 10000      # so many idle TLS connections
//! cargo bench --bench stress -- hostile 10      # each attack for so many seconds
//! cargo bench --bench stress -- hostile 10 SlowReader   # one of them
//! cargo bench --bench stress -- overload 10     # three times what is sustainable, for minutes
//! cargo bench --bench stress -- soak 60         # a light mixed load, for minutes
//! cargo bench --bench stress -- forward 60      # the answer to webhooks that are passed on, for seconds
//! cargo bench --bench stress -- mirror 600      # 200 calls a second through the mirror, for seconds
//! ```
//!
//! Everything happens on loopback and in a temporary directory. `ulimit -n` must leave room for the
//! connections: the server and this process have one end of each.

mod client;
mod forward;
mod hostile;
mod idle;
mod mirror;
mod overload;
mod probe;
mod server;
mod soak;

use std::error::Error;
use std::io::{self, Write as _};
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this too, and does not mean it.
    if !args.iter().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let words: Vec<&str> =
        args.iter().map(String::as_str).filter(|arg| *arg != "--bench").collect();
    let number = |word: &str| word.parse::<u64>().map_err(|error| format!("{word}: {error}"));
    let mut table = Table::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match *words.as_slice() {
            [] => {
                idle::run(&mut table, 10_000).await?;
                hostile::run(&mut table, Duration::from_secs(10), None).await
            }
            ["idle", count] => idle::run(&mut table, number(count)?).await,
            ["hostile", seconds, ref only @ ..] if only.len() < 2 => {
                let time = Duration::from_secs(number(seconds)?);
                hostile::run(&mut table, time, only.first().copied()).await
            }
            // What `hostile` starts.
            ["attack", which] => hostile::attack(number(which)?).await,
            ["overload", minutes] => {
                overload::run(&mut table, Duration::from_mins(number(minutes)?)).await
            }
            ["forward", seconds] => {
                forward::run(&mut table, Duration::from_secs(number(seconds)?)).await
            }
            ["mirror", seconds] => {
                mirror::run(&mut table, Duration::from_secs(number(seconds)?)).await
            }
            ["soak", minutes] => soak::run(&mut table, Duration::from_mins(number(minutes)?)).await,
            _ => {
                Err("expected nothing, or idle, hostile, overload, soak, forward or mirror with a number"
                    .into())
            }
        }
    })?;
    table.print()
}

/// Lines of what was done, figure.
#[derive(Default)]
struct Table(Vec<[String; 2]>);

impl Table {
    fn line(&mut self, what: &str, figure: String) {
        // A person who waits sees that it goes on.
        let _nobody_looks = writeln!(io::stderr(), "{what}: {figure}");
        self.0.push([what.to_owned(), figure]);
    }

    fn print(&self) -> Outcome<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        writeln!(out, "\n| what | figure |\n|---|---|")?;
        for [what, figure] in &self.0 {
            writeln!(out, "| {what} | {figure} |")?;
        }
        Ok(())
    }
}
