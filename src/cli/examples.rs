//! Examples of every command, for its help and its manual page. A test gives each to the program.

use clap::Command;

/// The words of a command, and lines that show it.
const EXAMPLES: &[(&[&str], &[&str])] = &[
    (&[], &["rollcall serve --demo", "rollcall status", "rollcall list --help"]),
    (
        &["serve"],
        &[
            "rollcall serve --demo",
            "rollcall serve --config /etc/rollcall/rollcall.toml",
            "rollcall serve --listen 0.0.0.0:8443 --tls-names calls.example.com --retention-age 90d",
        ],
    ),
    (
        &["open"],
        &["rollcall open", "rollcall open --url https://calls.example.com", "rollcall open --json"],
    ),
    (&["token"], &["rollcall token create --admin --name operator"]),
    (
        &["token", "create"],
        &[
            "rollcall token create --admin --name operator --expires 90d",
            "rollcall token create --account acme --role read --expires 2099-12-31",
            "rollcall token create --role metrics --name prometheus",
        ],
    ),
    (&["token", "list"], &["rollcall token list", "rollcall token list --json"]),
    (
        &["token", "revoke"],
        &[
            "rollcall token revoke 0123456789ab",
            "rollcall token revoke prometheus",
            "rollcall token revoke prometheus --wait 10s",
        ],
    ),
    (&["account"], &["rollcall account list"]),
    (
        &["account", "set"],
        &[
            "rollcall account set 9351f46a-678c-43f5-b8a6-d4eb58d131af --name acme",
            "rollcall account set acme --webhook-secret -",
            "rollcall account set acme --keep 90d",
        ],
    ),
    (&["account", "list"], &["rollcall account list"]),
    (&["account", "remove"], &["rollcall account remove acme"]),
    (
        &["import"],
        &[
            "rollcall import calls.ndjson",
            "rollcall import --dry-run --format csv calls.csv",
            "rollcall import --on-error skip --rejects left-out.ndjson calls.ndjson",
        ],
    ),
    (
        &["export"],
        &[
            "rollcall export -o calls.ndjson",
            "rollcall export --account acme --start 2026-11-01 --end 2026-12-01 --format csv -o november.csv",
            "rollcall export --status failed --start 2d",
        ],
    ),
    (
        &["list"],
        &[
            "rollcall list --status busy,failed --start 2h",
            "rollcall list --account acme --from-prefix +1555 --order asc",
            "rollcall list --q 555123 --answered --duration-min 60",
            "rollcall list --follow",
        ],
    ),
    (&["show"], &["rollcall show 3f6c1a52-1b7e-4c59-9d53-0c5c5d3a7f10", "rollcall show 3f6c1a52"]),
    (&["status"], &["rollcall status", "rollcall status --json"]),
    (&["health"], &["rollcall health", "rollcall health --for events --timeout 2s"]),
    (&["check"], &["rollcall check"]),
    (&["rebuild"], &["rollcall rebuild"]),
    (&["compact"], &["rollcall compact", "rollcall compact --drop-history"]),
    (&["expire"], &["rollcall expire --dry-run", "rollcall expire"]),
    (
        &["purge"],
        &[
            "rollcall purge --number +15551230001 --dry-run",
            "rollcall purge --number +15551230001 --mentions --wait 5m",
            "rollcall purge --number +15551230001 --now",
        ],
    ),
    (&["doctor"], &["rollcall doctor", "rollcall doctor --json"]),
    (&["forward"], &["rollcall forward status", "rollcall forward retry acme"]),
    (&["forward", "status"], &["rollcall forward status", "rollcall forward status --json"]),
    (&["forward", "retry"], &["rollcall forward retry acme", "rollcall forward retry --all"]),
    (&["forward", "pause"], &["rollcall forward pause"]),
    (&["forward", "resume"], &["rollcall forward resume"]),
    (&["mirror"], &["rollcall mirror check"]),
    (&["mirror", "check"], &["rollcall mirror check", "rollcall mirror check --json"]),
    (&["cdrs"], &["rollcall cdrs backfill --influx http://10.0.0.7:8086 --from 2026-11-28"]),
    (
        &["cdrs", "backfill"],
        &[
            "rollcall cdrs backfill --influx http://10.0.0.7:8086 --from 2026-11-28 --dry-run",
            "rollcall cdrs backfill --influx http://10.0.0.7:8086 --from 2026-11-28 --to 2026-11-29",
        ],
    ),
    (
        &["cdrs", "subscribe"],
        &[
            "rollcall cdrs subscribe --influx http://10.0.0.7:8086 --url http://10.0.0.5:8086",
            "rollcall cdrs subscribe --influx http://10.0.0.7:8086 --remove",
        ],
    ),
    (&["cluster"], &["rollcall cluster status"]),
    (
        &["cluster", "create"],
        &[
            "rollcall cluster create",
            "rollcall cluster create --monitor http://10.0.0.2:8222 --monitor http://10.0.0.3:8222",
        ],
    ),
    (&["cluster", "compare"], &["rollcall cluster compare"]),
    (&["cluster", "level"], &["rollcall cluster level"]),
    (&["cluster", "forget"], &["rollcall cluster forget node3"]),
    (
        &["cluster", "seed"],
        &[
            "ssh node1 rollcall backup - | rollcall cluster seed - --data-dir /var/lib/rollcall",
            "rollcall cluster seed /var/backups/rollcall/node1.tar.zst --data-dir /var/lib/rollcall",
        ],
    ),
    (&["cluster", "status"], &["rollcall cluster status", "rollcall cluster status --json"]),
    (
        &["jambonz"],
        &["rollcall jambonz attach --token-file key --hook https://HOST/v1/hooks/call-status"],
    ),
    (
        &["jambonz", "attach"],
        &[
            "rollcall jambonz attach --token-file key --hook https://HOST/v1/hooks/call-status",
            "rollcall jambonz attach --token - --hook https://HOST/v1/hooks/call-status --keep was --apply",
        ],
    ),
    (
        &["jambonz", "detach"],
        &[
            "rollcall jambonz detach --token-file key --keep was",
            "rollcall jambonz detach --token-file key --keep was --apply",
        ],
    ),
    (&["cert"], &["rollcall cert show"]),
    (&["cert", "show"], &["rollcall cert show", "rollcall cert show --ca"]),
    (&["cert", "renew"], &["rollcall cert renew", "rollcall cert renew --ca"]),
    (
        &["backup"],
        &[
            "rollcall backup /var/backups/rollcall/today",
            "rollcall backup /var/backups/rollcall/today.tar.zst --rate 16MiB",
            "rollcall backup /var/backups/rollcall --keep 14",
            "rollcall backup - | ssh node4 rollcall cluster seed - --data-dir /var/lib/rollcall",
        ],
    ),
    (&["verify"], &["rollcall verify /var/backups/rollcall/today"]),
    (
        &["restore"],
        &[
            "rollcall restore /var/backups/rollcall/today --data-dir /var/lib/rollcall",
            "rollcall restore /var/backups/rollcall/today --until 2h --data-dir /var/lib/rollcall",
            "ssh node1 rollcall backup - | rollcall restore - --data-dir /var/lib/rollcall",
        ],
    ),
    (&["config"], &["rollcall config check", "rollcall config example"]),
    (&["config", "check"], &["rollcall config check --config /etc/rollcall/rollcall.toml"]),
    (&["config", "example"], &["rollcall config example"]),
    (&["completions"], &["rollcall completions bash"]),
    (&["man"], &["rollcall man", "rollcall man ./man1"]),
];

/// The command line with the examples of each command behind its help.
pub(super) fn with_examples(command: Command) -> Command {
    EXAMPLES.iter().fold(command, |command, (words, lines)| {
        let text = lines.iter().fold("Examples:".to_owned(), |text, line| text + "\n  " + line);
        added(command, words, text)
    })
}

fn added(command: Command, words: &[&str], text: String) -> Command {
    match words {
        [] => command.after_help(text),
        [first, rest @ ..] => {
            // A command that is not there stays away.
            if command.find_subcommand(first).is_none() {
                return command;
            }
            command.mut_subcommand(first, |below| added(below, rest, text))
        }
    }
}
