//! The HTTP API: setting a tenant up, commands, events, the audit trail, enrolment and tokens, the key set, health.
//! Owns routes and the shape of answers; what is decided is decided in `decide`, what is kept is the store's.

mod auth;
mod commands;
mod enrol;
mod enrolled;
mod explain;
mod health;
mod history;
mod lockdowns;
mod problem;
mod proof;
mod reply;
mod resource;
mod resources;
mod server;
mod setup;
mod signing;
mod turn;

use crate::core::Core;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use std::sync::Arc;

pub use problem::{CODES, Problem};
pub use resources::RESOURCES;
pub use server::serve;

/// A schedule with ten years of exceptions is 200 KB.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// What everybody can reach who can reach core.
pub fn public(core: &Arc<Core>) -> Router {
    let mut router = Router::new()
        .route("/.well-known/jwks.json", get(health::jwks))
        .route("/v1/devices/challenge", get(proof::challenge))
        .route("/v1/devices/enrol", post(enrol::device))
        .route("/v1/devices/token", post(proof::device_token))
        .route("/v1/phones/enrol", post(enrol::phone))
        .route("/v1/phones/token", post(proof::phone_token))
        .route("/v1/tenants", get(setup::list).post(setup::create))
        .route("/v1/tenants/{id}", get(setup::show))
        .route("/v1/tenants/{id}/keys", post(setup::key_for_tenant))
        .route("/v1/keys", get(setup::keys).post(setup::make_key))
        .route("/v1/signing-keys", get(signing::list).post(signing::rotate))
        .route("/v1/keys/{id}", get(setup::show_key))
        .route("/v1/keys/{id}/revoke", post(setup::revoke_key))
        .route("/v1/doors/{id}/mode", put(commands::mode))
        .route("/v1/doors/{id}/commands", post(commands::create))
        .route("/v1/doors/{id}/enrolments", post(enrol::code_for_door))
        .route("/v1/people/{id}/enrolments", post(enrol::code_for_person))
        .route("/v1/people/{id}/sign-out", post(enrolled::sign_out))
        .route("/v1/devices", get(enrolled::devices))
        .route("/v1/devices/{id}", get(enrolled::show_device))
        .route("/v1/devices/{id}/revoke", post(enrolled::revoke_device))
        .route("/v1/phones", get(enrolled::phones))
        .route("/v1/phones/{id}", get(enrolled::show_phone))
        .route("/v1/phones/{id}/revoke", post(enrolled::revoke_phone))
        .route("/v1/commands", get(commands::list))
        .route("/v1/commands/{id}", get(commands::show))
        .route("/v1/commands/{id}/cancel", post(commands::cancel))
        .route("/v1/lockdowns", get(lockdowns::list).post(lockdowns::activate))
        .route("/v1/lockdowns/{id}", get(lockdowns::show))
        .route("/v1/lockdowns/{id}/revert", post(lockdowns::revert))
        .route("/v1/access/explain", post(explain::explain))
        .route("/v1/events", get(history::events))
        .route("/v1/audit", get(history::audit))
        .route("/v1/audit/checkpoints", get(history::checkpoints).post(history::sign))
        .route("/v1/console/token", post(proof::console_token));
    for resource in RESOURCES {
        router = resource::routes(router, resource);
    }
    router
        .merge(health::routes())
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(core), problem::finish))
        .with_state(Arc::clone(core))
}

/// Health and metrics for the network that core runs in.
pub fn private(core: &Arc<Core>) -> Router {
    health::routes().merge(health::metrics_route()).with_state(Arc::clone(core))
}
