//! The templates of the pages. Everything that they print is escaped; the filters here that make marks of their own escape what
//! they are given.

use std::sync::LazyLock;

use serde::Serialize;
use tera::{Context, Kwargs, State, Tera, Value};

use super::{strip, text, words};

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../templates/pages/", $name)))),*]
    };
}

const TEMPLATES: [(&str, &str); 22] = templates![
    "layout.html",
    "error.html",
    "login.html",
    "services.html",
    "service_row.html",
    "strip.html",
    "service.html",
    "service_servers.html",
    "service_tab.html",
    "change.html",
    "unexposed.html",
    "problems.html",
    "status.html",
    "why.html",
    "rules.html",
    "rule.html",
    "rules_import.html",
    "verdict.html",
    "changes.html",
    "change_page.html",
    "config.html",
    "difference.html",
];

static TERA: LazyLock<Result<Tera, String>> = LazyLock::new(|| load().map_err(|error| told(&error)));

fn load() -> tera::TeraResult<Tera> {
    let mut tera = Tera::new();
    tera.autoescape_on([".html"]);
    tera.register_filter("time", time);
    tera.register_filter("breakable", breakable);
    tera.register_filter("marked", marked);
    tera.register_filter("rate", rate);
    tera.register_filter("count", count);
    tera.register_filter("seconds", seconds);
    tera.register_filter("bars", strip::bars);
    tera.register_filter("diff", text::diff);
    tera.register_filter("in_url", |text: &str, _: Kwargs, _: &State| in_url(text));
    tera.register_filter("service_url", |id: &str, _: Kwargs, _: &State| service_url(id));
    tera.register_filter("state", |name: &str, _: Kwargs, _: &State| words::STATES.chip(name));
    tera.register_filter("server_state", |name: &str, _: Kwargs, _: &State| words::SERVERS.chip(name));
    tera.register_filter("how", |name: &str, _: Kwargs, _: &State| words::CHANGES.chip(name));
    tera.register_filter("kind", |name: &str, _: Kwargs, _: &State| words::KINDS.chip(name));
    tera.add_raw_templates(TEMPLATES)?;
    Ok(tera)
}

/// Tera's report, with the causes behind it.
fn told(error: &tera::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}; {inner}");
        source = inner.source();
    }
    text
}

/// Draws a page.
///
/// # Errors
/// A name that the template has and the content has not.
pub(super) fn render(
    template: &str,
    frame: &impl Serialize,
    content: &impl Serialize,
) -> Result<String, String> {
    let tera = TERA.as_ref().map_err(Clone::clone)?;
    let mut context = Context::from_serialize(content).map_err(|error| told(&error))?;
    context.insert("frame", frame);
    tera.render(template, &context).map_err(|error| told(&error))
}

/// A text as it stands in a page.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A moment of the API (RFC 3339, UTC), for a script to show in the reader's zone.
fn time(at: &str, _: Kwargs, _: &State) -> Value {
    let words = match (at.split_once('T'), at.get(11..19)) {
        (Some((day, _)), Some(clock)) => format!("{day} {clock} UTC"),
        _ => at.to_owned(),
    };
    let at = escaped(at);
    Value::safe_string(&format!("<time datetime=\"{at}\" title=\"{at}\">{}</time>", escaped(&words)))
}

/// A long name that may go on in the next line behind each of its parts, and is never cut.
fn breakable(text: &str, _: Kwargs, _: &State) -> Value {
    let mut marked = String::with_capacity(text.len() * 2);
    for part in text.split_inclusive(['/', '-', '.', '_', ':', ',', '&', '=']) {
        if !marked.is_empty() {
            marked.push_str("<wbr>");
        }
        marked.push_str(&escaped(part));
    }
    Value::safe_string(&marked)
}

/// A text whose `names` stand between ticks.
fn marked(text: &str, _: Kwargs, _: &State) -> Value {
    let part = |(at, part): (usize, &str)| match at % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    };
    Value::safe_string(&text.split('`').enumerate().map(part).collect::<String>())
}

fn rate(value: f64, _: Kwargs, _: &State) -> String {
    a_second(value)
}

/// So many a second.
pub(super) fn a_second(value: f64) -> String {
    match value {
        value if value <= 0.0 => "0".to_owned(),
        value if value < 0.1 => "<0.1".to_owned(),
        value if value < 10.0 => format!("{value:.1}"),
        value => thousands(&format!("{value:.0}")),
    }
}

fn count(value: u64, _: Kwargs, _: &State) -> String {
    thousands(&value.to_string())
}

/// Digits with a comma behind each three.
pub(super) fn thousands(digits: &str) -> String {
    let length = digits.len();
    let place = |(at, digit): (usize, char)| {
        let comma = (at > 0 && (length - at).is_multiple_of(3)).then_some(',');
        comma.into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(place).collect()
}

fn seconds(value: f64, _: Kwargs, _: &State) -> String {
    span(value)
}

/// A span of time, in the unit that fits.
pub(super) fn span(value: f64) -> String {
    match value {
        value if value < 0.001 => "under 1 ms".to_owned(),
        value if value < 1.0 => format!("{:.0} ms", value * 1_000.0),
        value if value < 10.0 => format!("{value:.1} s"),
        value if value < 120.0 => format!("{value:.0} s"),
        value if value < 7_200.0 => format!("{:.0} min", value / 60.0),
        value if value < 172_800.0 => format!("{:.0} h", value / 3_600.0),
        value => format!("{:.0} days", value / 86_400.0),
    }
}

/// A text inside a path or a query; its slashes stay.
pub(super) fn in_url(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let shown = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(shown).collect()
}

/// The page of a service, by the name that it has in logs: app and port index.
fn service_url(id: &str) -> String {
    match id.rsplit_once(':') {
        Some((app, port)) => format!("/services{}?port={}", in_url(app), in_url(port)),
        None => format!("/services{}", in_url(id)),
    }
}

#[cfg(test)]
mod tests;
