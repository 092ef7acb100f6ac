//! Rules: the list with its order, and what is done to one of them from there.

use axum::Extension;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::templates::in_url;
use super::{PageError, Reader, Screen};
use crate::model::{AppId, Problem, Rule, RuleRoute};
use crate::rules::Versioned;
use crate::web::rules::{Asking, Expected, Shown, save, take_away};
use crate::web::{ApiError, Audit, RuleDesk, Seen};

pub(super) mod editor;
mod fields;
pub(super) mod import;
mod verdict;

/// The steps between the orders that are given out, so that there is room between two.
const GAP: i64 = 10;
/// Rules on one page.
const SHOWN: usize = 100;

/// What the list asks for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Asks {
    q: String,
    /// The app whose rule was just saved, for a word about it.
    done: String,
    what: String,
    /// How many of those that were found are left out before the first.
    from: usize,
}

/// A rule in the list.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    rule: Shown,
    routes_shown: Vec<String>,
    url: String,
    /// The app's own page, where there is such an app.
    app_url: Option<String>,
    may_edit: bool,
    is_group: bool,
    /// The app before which it goes when it is moved up, and the one that goes before it when it is moved down.
    up_before: Option<String>,
    down_before: Option<String>,
    may_go_down: bool,
}

#[derive(Serialize)]
struct Content<'a> {
    asks: &'a Asks,
    rows: Vec<Row>,
    total: usize,
    /// How many were found, and the way to those that are not on this page.
    found: usize,
    next_url: Option<String>,
    problems: Vec<Problem>,
    may_order: bool,
    may_write: bool,
    is_somebody: bool,
    error: Option<String>,
}

pub(super) async fn list(
    reader: Reader,
    State(seen): State<Seen>,
    asks: Result<Query<Asks>, QueryRejection>,
) -> Result<Response, PageError> {
    let Query(asks) = asks?;
    let view = seen.view.borrow().clone();
    let (rules, problems, error) = match seen.rules.store().list().await {
        Ok(read) => (read.rules.clone(), read.problems.clone(), None),
        // The last known ones are what runs.
        Err(error) => (Vec::new(), Vec::new(), Some(error.to_string())),
    };
    let mut rules: Vec<Versioned> = rules;
    let total = rules.len();
    rules.sort_by(|one, other| place(&one.rule).cmp(&place(&other.rule)));
    let ordered: Vec<String> =
        rules.iter().filter(|each| each.rule.order.is_some()).map(|each| each.rule.app.to_string()).collect();
    let wanted = asks.q.trim().to_lowercase();
    let row = |each: &Versioned| {
        let app = each.rule.app.to_string();
        let at = ordered.iter().position(|other| *other == app);
        let before = |at: usize| ordered.get(at).cloned();
        let is_known = view.apps.contains_key(&each.rule.app);
        Row {
            routes_shown: each.rule.routes.iter().map(route_shown).collect(),
            url: format!("/rules/edit?app={}", in_url(&app)),
            app_url: is_known.then(|| format!("/services{}", in_url(&app))),
            may_edit: reader.caller.may_edit(&each.rule.app)
                && (each.rule.group().is_none() || reader.caller.is_admin()),
            is_group: each.rule.group().is_some(),
            up_before: at.and_then(|at| before(at.checked_sub(1)?)),
            down_before: at.and_then(|at| before(at + 2)),
            may_go_down: at.is_some_and(|at| at + 1 < ordered.len()),
            rule: Shown::from(each),
        }
    };
    let has = |row: &Row| {
        wanted.is_empty()
            || row.rule.app.as_str().to_lowercase().contains(&wanted)
            || row.routes_shown.iter().any(|route| route.to_lowercase().contains(&wanted))
    };
    let found: Vec<Row> = rules.iter().map(row).filter(has).collect();
    let next = asks.from + SHOWN;
    let next_url = (found.len() > next).then(|| format!("/rules?q={}&from={next}", in_url(&asks.q)));
    let content = Content {
        asks: &asks,
        found: found.len(),
        rows: found.into_iter().skip(asks.from).take(SHOWN).collect(),
        next_url,
        total,
        problems,
        may_order: reader.caller.is_admin(),
        may_write: reader.caller.may_write(),
        is_somebody: reader.caller.name.is_some(),
        error,
    };
    Ok(reader.page("rules.html", Screen::Rules, "Rules", &content))
}

/// Where a rule stands in the list: by its order, those without behind, by app id.
fn place(rule: &Rule) -> (bool, i64, &str) {
    (rule.order.is_none(), rule.order.unwrap_or_default(), rule.app.as_str())
}

/// A route as people read it.
pub(super) fn route_shown(route: &RuleRoute) -> String {
    let criteria = |all: &[crate::model::Criterion], join: &str| {
        all.iter().map(fields::in_words).collect::<Vec<_>>().join(join)
    };
    let mut text = match (&route.acl, route.any.as_slice()) {
        (Some(text), _) => format!("acl {text}"),
        (None, [_, ..]) => criteria(&route.any, " or "),
        (None, []) => {
            let start = match (&route.host, &route.path) {
                (Some(host), Some(path)) => format!("{host}{path}"),
                (Some(host), None) => host.clone(),
                (None, Some(path)) => format!("any host {path}"),
                (None, None) => String::new(),
            };
            let more = criteria(&route.all, " and ");
            match (start.is_empty(), more.is_empty()) {
                (true, _) => more,
                (_, true) => start,
                _ => format!("{start} and {more}"),
            }
        }
    };
    if route.port != 0 {
        text.push_str(&format!(" → port {}", route.port));
    }
    text
}

/// What is done to one rule.
#[derive(Debug, Deserialize)]
pub(super) struct Order {
    app: String,
    version: String,
    #[serde(rename = "do")]
    what: What,
    /// `move`: the app whose rule it goes before; empty: behind all that have an order.
    #[serde(default)]
    before: String,
    /// `number`: the order; empty: none.
    #[serde(default)]
    order: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Enable,
    Disable,
    Move,
    Number,
    Delete,
}

/// Does something to a rule of the list, as the API does.
pub(super) async fn order(
    reader: Reader,
    State(seen): State<Seen>,
    Extension(audit): Extension<Audit>,
    form: Result<Form<Order>, FormRejection>,
) -> Result<Response, PageError> {
    let told = |error: ApiError| PageError::to(&reader, error).back_to("/rules".to_owned());
    let Form(form) = form.map_err(|error| told(ApiError::new(error.status(), error.body_text())))?;
    let asking = Asking::of_page(reader.caller.clone(), audit, false);
    let app = AppId::new(&form.app);
    let desk = &seen.rules;
    let patch = |value: Value| patched(desk, &asking, &app, &form.version, value);
    let done = match form.what {
        What::Enable => patch(json!({ "enabled": true, "why": "switched on" })).await,
        What::Disable => patch(json!({ "enabled": false, "why": "switched off" })).await,
        What::Number => match form.order.trim() {
            "" => patch(json!({ "order": null, "why": "no order" })).await,
            text => match text.parse::<i64>() {
                Ok(order) => patch(json!({ "order": order, "why": format!("order {order}") })).await,
                Err(_) => Err(ApiError::mistakes(vec![format!("order: {text:?} is no whole number")])),
            },
        },
        What::Move => moved(desk, &asking, &app, &form).await,
        What::Delete => {
            take_away(desk, &asking, &app, &Expected::seen(Some(&form.version))).await.map(|_| ())
        }
    };
    done.map_err(told)?;
    let what = match form.what {
        What::Enable => "enabled",
        What::Disable => "disabled",
        What::Delete => "deleted",
        What::Move | What::Number => "moved",
    };
    Ok(Redirect::to(&format!("/rules?done={}&what={what}", in_url(app.as_str()))).into_response())
}

/// Changes some members of a rule, whose version the reader saw.
async fn patched(
    desk: &RuleDesk,
    asking: &Asking,
    app: &AppId,
    version: &str,
    change: Value,
) -> Result<(), ApiError> {
    let missing = || ApiError::new(StatusCode::NOT_FOUND, format!("there is no rule for {app} any more"));
    let current = desk.store().get(app).await?.ok_or_else(missing)?;
    let mut rule = json!(Shown::from(&current));
    if let (Some(fields), Value::Object(change)) = (rule.as_object_mut(), change) {
        fields.extend(change);
    }
    save(desk, asking, app, rule, Some(version)).await.map(|_| ())
}

/// Moves a rule before another one. Where there is no number left between two, those behind it get new ones.
async fn moved(desk: &RuleDesk, asking: &Asking, app: &AppId, form: &Order) -> Result<(), ApiError> {
    let rules = desk.store().list().await?;
    let mut others: Vec<&Versioned> =
        rules.rules.iter().filter(|each| each.rule.order.is_some() && each.rule.app != *app).collect();
    others.sort_by(|one, other| place(&one.rule).cmp(&place(&other.rule)));
    let at = others.iter().position(|each| each.rule.app.as_str() == form.before).unwrap_or(others.len());
    let orders: Vec<i64> = others.iter().filter_map(|each| each.rule.order).collect();
    let (order, shifted) = between(&orders, at);
    // From the last to the first: at no moment do two change places.
    for (other, order) in others[at..].iter().zip(shifted).rev() {
        let why = json!({ "order": order, "why": format!("moved on for {app}") });
        patched(desk, asking, &other.rule.app, other.version.as_str(), why).await?;
    }
    let change = json!({ "order": order, "why": format!("order {order}") });
    patched(desk, asking, app, &form.version, change).await
}

/// The order of something that goes to a place among others, and new ones for those from there on, where they have to move on.
fn between(orders: &[i64], at: usize) -> (i64, Vec<i64>) {
    let before = at.checked_sub(1).and_then(|at| orders.get(at)).copied();
    match (before, orders.get(at).copied()) {
        (None, None) => (GAP, Vec::new()),
        (Some(before), None) => (before.saturating_add(GAP), Vec::new()),
        (None, Some(next)) => (next.saturating_sub(GAP), Vec::new()),
        (Some(before), Some(next)) if next.saturating_sub(before) > 1 => {
            (before + (next - before) / 2, Vec::new())
        }
        (Some(before), Some(_)) => {
            let order = before.saturating_add(GAP);
            let mut last = order;
            let mut shifted = Vec::new();
            for next in &orders[at..] {
                if *next > last {
                    break;
                }
                last = last.saturating_add(GAP);
                shifted.push(last);
            }
            (order, shifted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_finds_its_place_among_others() {
        assert_eq!(between(&[], 0), (10, vec![]));
        assert_eq!(between(&[10, 20], 2), (30, vec![]));
        assert_eq!(between(&[10, 20], 0), (0, vec![]));
        assert_eq!(between(&[10, 20], 1), (15, vec![]));
        assert_eq!(between(&[10, 11, 12, 90], 1), (20, vec![30, 40]));
    }

    #[test]
    fn a_route_is_read_as_it_is_meant() {
        let route = |text: Value| route_shown(&serde_json::from_value(text).unwrap());
        assert_eq!(route(json!({ "host": "a.x", "path": "/b", "port": 1 })), "a.x/b → port 1");
        let all = json!({ "all": [{ "host": "a.x" }, { "header": { "name": "X-T", "value": "b" } }] });
        assert_eq!(route(all), "host a.x and header X-T: b");
        assert_eq!(route(json!({ "any": [{ "path": "/a" }, { "path": "/b" }] })), "path /a or path /b");
        assert_eq!(route(json!({ "acl": "hdr(x) y" })), "acl hdr(x) y");
    }
}
