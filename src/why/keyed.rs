//! Look-ups of one key: the app's id, the service port.

use http::HeaderName;

use super::lookup::Found;
use super::{Asked, Candidate, Fate, Known, Step, StepKind};
use crate::render::maps::MapName;

const APP_ID: HeaderName = HeaderName::from_static("x-marathon-app-id");

/// Looks up by `X-Marathon-App-Id`; `said` is HAProxy's word.
pub(super) fn by_app_id(known: &Known<'_>, asked: &Asked, said: Option<Option<&str>>) -> Found {
    let id = asked.header(&APP_ID).unwrap_or_default().to_ascii_lowercase();
    let title = match id.as_str() {
        "" => "There is no header X-Marathon-App-Id, by which this frontend goes".to_owned(),
        id => format!("X-Marathon-App-Id: {id}"),
    };
    by_key(known, MapName::Apps, "the app's id", &id, title, said)
}

/// Looks up by the service port; `said` is HAProxy's word.
pub(super) fn by_port(known: &Known<'_>, port: u16, said: Option<Option<&str>>) -> Found {
    let title = format!("service port {port}");
    by_key(known, MapName::Ports, "the service port", &port.to_string(), title, said)
}

fn by_key(
    known: &Known<'_>,
    map: MapName,
    what: &str,
    key: &str,
    title: String,
    said: Option<Option<&str>>,
) -> Found {
    let computed = known.text.maps.get(map, key).map(String::as_str);
    let backend = said.unwrap_or(computed);
    let differs = (backend != computed).then(|| {
        let name = |backend: Option<&str>| backend.unwrap_or("no backend").to_owned();
        format!(
            "HAProxy says {}, where {} has {}; HAProxy's word counts",
            name(backend),
            map.file(),
            name(computed)
        )
    });
    let service = backend.and_then(|name| known.block_of_backend(name)).map(|block| &block.service);
    let candidate = Candidate {
        what: what.to_owned(),
        key: key.to_owned(),
        place: map.file().to_owned(),
        app: service.map(|service| service.id.app.to_string()),
        port_index: service.map(|service| service.id.port_index),
        backend: backend.map(str::to_owned),
        from: None,
        fate: if backend.is_some() { Fate::Won } else { Fate::NoMatch },
        why: backend.is_none().then(|| "no entry".to_owned()),
    };
    let title = match service {
        Some(service) => format!("{}, by {title}", super::name(&service.id)),
        None => title,
    };
    let step = Step { candidates: vec![candidate], ..Step::new(StepKind::Lookup, title) };
    Found { step, backend: backend.map(str::to_owned), differs }
}
