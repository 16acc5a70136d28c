//! What a client would rather have (RFC 9110, section 12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

/// The weights that `Accept` gives to a media type: named itself, by its kind, by everything. The
/// first one that is there counts.
pub(super) fn weights(headers: &HeaderMap, media_type: &str) -> [Option<f32>; 3] {
    let kind = media_type.split('/').next().unwrap_or_default();
    let mut weights = [None; 3];
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for part in values.flat_map(|value| value.split(',')) {
        let mut parameters = part.split(';').map(str::trim);
        let range = parameters.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parameters.find_map(|p| p.strip_prefix("q=").or(p.strip_prefix("Q=")));
        let weight: f32 = weight.map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
        let [exact, of_kind, all] = &mut weights;
        if range == media_type {
            *exact = Some(weight);
        } else if range.strip_suffix("/*") == Some(kind) {
            *of_kind = Some(weight);
        } else if range == "*/*" {
            *all = Some(weight);
        }
    }
    weights
}
