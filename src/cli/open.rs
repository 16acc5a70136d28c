//! `rollcall open`: a link to the console that signs in.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::json;

use super::execute::execute;
use super::output::Output;
use crate::config::Config;
use crate::ops::{AdminReply, AdminRequest, Failure, NewLink, SignInLink};
use crate::users;

/// Opens an address with the browser of the desktop.
const OPENER: &str = "xdg-open";

#[derive(Debug, Args)]
pub(super) struct OpenArgs {
    /// Only print the link, also where there is a desktop.
    #[arg(long)]
    print: bool,
    /// The address of the server as a browser reaches it, such as `https://calls.example.com` behind a proxy.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub(super) fn open(config: &Config, words: OpenArgs, output: &mut Output) -> Result<(), Failure> {
    let is_remote = is_remote();
    let request =
        AdminRequest::ConsoleOpen(NewLink { user: users::name_of_us(), is_remote, url: words.url });
    let mut take = |_: Option<&str>, _: &[u8]| Ok(());
    let answer = execute(config, request, &mut io::empty(), output, &mut take)?;
    let AdminReply::SignInLink(link) = answer.reply else {
        return Err(Failure::new("the server answers something else than it was asked"));
    };
    if output.json {
        let SignInLink { url, seconds, note, certificate_sha256, authority } = link;
        let value = json!({
            "url": url, "seconds": seconds, "note": note,
            "certificate_sha256": certificate_sha256, "authority": authority,
        });
        return output.text(&value.to_string());
    }
    output.text(&link.url)?;
    output.say(&said(&link));
    if !words.print && !is_remote && has_desktop() && io::stdout().is_terminal() {
        let opened = Command::new(OPENER)
            .arg(&link.url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // It outlives this terminal.
            .process_group(0)
            .spawn();
        if let Err(error) = opened {
            output.say(&format!("note: the browser was not opened: {OPENER}: {error}"));
        }
    }
    Ok(())
}

/// What is to be known of a link.
pub(super) fn said(link: &SignInLink) -> String {
    let seconds = link.seconds;
    let mut text = format!("the link signs in as an admin, once, within {seconds} s");
    if let (Some(sha256), Some(authority)) = (&link.certificate_sha256, &link.authority) {
        let path = authority.display();
        let _infallible = write!(
            text,
            "\nrollcall made its own certificate: have the browser trust {path} (`rollcall cert show --ca` \
             prints it), or compare the SHA-256 of the certificate that it warns of:\n  {}",
            fingerprint(sha256)
        );
    }
    if let Some(note) = &link.note {
        let _infallible = write!(text, "\nnote: {note}");
    }
    text
}

/// Digits as browsers show them: `AB:CD:…`.
fn fingerprint(digits: &str) -> String {
    let pairs: Vec<&str> =
        digits.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok()).collect();
    pairs.join(":").to_ascii_uppercase()
}

/// Whether this is a shell on another machine than its user's.
pub(super) fn is_remote() -> bool {
    ["SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"].iter().any(|name| is_set(name))
}

fn has_desktop() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| is_set(name))
        && std::env::split_paths(&path).any(|dir| dir.join(OPENER).is_file())
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_in_pairs() {
        assert_eq!(fingerprint("00ff10"), "00:FF:10");
    }
}
