//! Reading environments: the shipped ones load.

use infra_model::environment::{Environment, Loader};

#[test]
fn shipped_environments_load() {
    for name in ["dev", "staging", "production", "tenants/acme"] {
        let loaded =
            Environment::load(name, &Loader::shipped()).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
}

#[test]
fn shipped_blueprints_hold_together() {
    for name in ["dev", "staging", "production", "tenants/acme"] {
        let loaded =
            Environment::load(name, &Loader::shipped()).unwrap_or_else(|problems| panic!("{problems}"));
        let graph =
            infra_model::blueprint::blueprint(&loaded).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(graph.check(), [], "{name}");
    }
}
