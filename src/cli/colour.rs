//! Whether what is written has colours.

use std::ffi::OsString;

/// Whether a stream has colours: on a terminal, unless the environment asks for none (`NO_COLOR`,
/// `CLICOLOR=0`, `TERM=dumb`) or for colours everywhere (`CLICOLOR_FORCE`, `FORCE_COLOR`).
pub(super) fn on(is_terminal: bool) -> bool {
    wanted(is_terminal, |name| std::env::var_os(name))
}

fn wanted(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let forced = |name: &str| given(name).is_some_and(|value| value != "0");
    if given("NO_COLOR").is_some() {
        return false;
    }
    if forced("CLICOLOR_FORCE") || forced("FORCE_COLOR") {
        return true;
    }
    let off = |name: &str, value: &str| given(name).is_some_and(|given| given == value);
    is_terminal && !off("CLICOLOR", "0") && !off("TERM", "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_somebody_asks_otherwise() {
        for (is_terminal, variables, expected) in [
            (true, &[][..], true),
            (false, &[], false),
            (true, &[("NO_COLOR", "1")], false),
            (true, &[("NO_COLOR", "")], true),
            (false, &[("FORCE_COLOR", "1")], true),
            (false, &[("CLICOLOR_FORCE", "1")], true),
            (false, &[("CLICOLOR_FORCE", "0")], false),
            (true, &[("NO_COLOR", "1"), ("FORCE_COLOR", "1")], false),
            (true, &[("CLICOLOR", "0")], false),
            (true, &[("TERM", "dumb")], false),
            (true, &[("TERM", "xterm")], true),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(given, _)| *given == name);
                found.map(|(_, value)| OsString::from(value))
            };
            assert_eq!(wanted(is_terminal, variable), expected, "{is_terminal} {variables:?}");
        }
    }
}
