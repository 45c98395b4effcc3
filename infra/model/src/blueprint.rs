//! From an environment to all the resources it wants, each with its address, its fields and where each value was written.
//! Owns the intent (production wants three NAT gateways; a service may reach its stores and nothing else); refuses to know
//! what exists and how anything is made.

mod compute;
mod data;
mod edge;
mod firewall;
mod identity;
mod moved;
mod network;

use crate::address::{Address, Ref};
use crate::environment::{Environment, Loaded, Names, Problems, Service, Tier, subnets};
use crate::graph::{Graph, Scope, Wanted};
use crate::kinds::{ElasticIp, Kind, Subnet};

/// All wanted resources of an environment. Fails where `moved` names addresses that cannot be meant.
pub fn blueprint(loaded: &Loaded) -> Result<Graph, Problems> {
    let environment = &loaded.environment;
    let mut draft =
        Draft { loaded, environment, names: Names::new(environment), graph: Graph::new(scope(environment)) };
    draft.graph.tags = environment.tags.clone();
    network::draw(&mut draft);
    network::draw_groups(&mut draft);
    identity::draw(&mut draft);
    data::draw(&mut draft);
    edge::draw(&mut draft);
    firewall::draw(&mut draft);
    compute::draw(&mut draft);
    network::name(&mut draft);
    moved::enter(draft.graph, loaded)
}

/// Whose objects the graph speaks of.
pub fn scope(environment: &Environment) -> Scope {
    Scope {
        project: environment.project.clone(),
        environment: environment.name.clone(),
        account: environment.account.clone(),
        region: environment.region.clone(),
        shared_zones: environment.dns.iter().filter_map(|dns| dns.zone_id.clone()).collect(),
    }
}

/// A graph being drawn.
struct Draft<'a> {
    loaded: &'a Loaded,
    environment: &'a Environment,
    names: Names,
    graph: Graph,
}

impl Draft<'_> {
    /// `file:line` of a path of the environment: its own, that of the nearest table around it, or `default`.
    fn place(&self, path: &str) -> String {
        match self.loaded.origins.of(path) {
            Some(origin) => origin.short(),
            // A key of the outermost table that no file mentions has no table around it.
            None => "default".to_owned(),
        }
    }

    /// A resource whose fields come from `path`, except those that come from elsewhere.
    fn wanted<K: Kind>(&self, resource: &K, path: &str, elsewhere: &[(&str, &str)]) -> Wanted {
        let mut wanted = Wanted::new(resource);
        for field in wanted.fields.keys().cloned().collect::<Vec<_>>() {
            wanted.origins.insert(field, self.place(path));
        }
        for (field, path) in elsewhere {
            // A field that is not managed has no value and so no place.
            if wanted.fields.contains_key(field.split('/').next().unwrap_or_default()) {
                wanted.origins.insert((*field).to_owned(), self.place(path));
            }
        }
        wanted
    }

    /// Put a resource into the graph.
    fn add<K: Kind>(&mut self, at: &str, resource: &K, path: &str, elsewhere: &[(&str, &str)]) -> Address {
        let wanted = self.wanted(resource, path, elsewhere);
        self.graph.add(Address::new(at), wanted)
    }

    /// Show a value when the environment stands.
    fn output(&mut self, name: &str, value: impl Into<String>) {
        self.graph.outputs.insert(name.to_owned(), serde_json::Value::String(value.into()));
    }

    /// The subnets of a tier, in the order of the zones.
    fn subnets(&self, tier: Tier) -> Vec<Ref<Subnet>> {
        let places = subnets(&self.environment.network);
        let places = places.iter().filter(|place| place.tier == tier);
        places.map(|place| Ref::to(&network::subnet(place.tier, &place.letter))).collect()
    }

    /// The public addresses with which private subnets leave, as references.
    fn public_addresses(&self) -> Vec<String> {
        let addresses = self.graph.resources.iter().filter(|(_, wanted)| wanted.kind == ElasticIp::ID);
        addresses.map(|(at, _)| Ref::<ElasticIp>::attribute(at, "public_ip").to_string()).collect()
    }
}

/// The services by name, each with the path of its table.
fn services(environment: &Environment) -> impl Iterator<Item = (&str, String, &Service)> {
    environment.services.iter().map(|(name, service)| (name.as_str(), format!("services.{name}"), service))
}

/// The store called `redis` in `uses`.
const REDIS: &str = "redis";
/// The store called `postgres` in `uses`.
const POSTGRES: &str = "postgres";
const REDIS_PORT: u16 = 6379;
const POSTGRES_PORT: u16 = 5432;

/// Whether a service uses a store or secret.
fn uses(service: &Service, what: &str) -> bool {
    service.uses.iter().any(|used| used == what)
}
