//! Every file of the console, by its path below `assets/`. A test holds the list against the directory.

macro_rules! files {
    ($($path:literal)*) => {
        &[$(($path, include_bytes!(concat!("assets/", $path)))),*]
    };
}

pub(super) static FILES: &[(&str, &[u8])] = files! {
    "css/app.css"
    "css/call.css"
    "css/charts.css"
    "css/history.css"
    "css/live.css"
    "css/operation.css"
    "css/statistics.css"
    "icon.svg"
    "index.html"
    "js/api.js"
    "js/html.js"
    "js/main.js"
    "js/pages/call.js"
    "js/pages/history.js"
    "js/pages/live.js"
    "js/pages/operation.js"
    "js/pages/statistics.js"
    "js/range.js"
    "js/shell.js"
    "js/sign_in.js"
    "js/status.js"
    "js/store.js"
    "js/theme.js"
    "js/time.js"
    "js/ui.js"
    "js/url.js"
    "vendor/hooks.js"
    "vendor/htm.js"
    "vendor/preact.js"
};
