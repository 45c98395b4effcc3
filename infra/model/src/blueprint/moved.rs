//! Renames: which addresses each wanted resource had before. Owns chains of renames and the kinds that addresses stand for;
//! refuses to know whether anything stands at the old address.

use crate::address::Address;
use crate::environment::{Loaded, Origin, Problem, Problems, nearest};
use crate::graph::Graph;
use crate::kinds::KindId;

/// Which kind stands at an address of which form; `*` is any one segment. A test holds it against what blueprints want.
const FORMS: &[(&str, KindId)] = &[
    ("compute/cluster", KindId::Cluster),
    ("compute/log_group/*", KindId::LogGroup),
    ("compute/repository/*", KindId::Repository),
    ("compute/scaling/*", KindId::Scaling),
    ("compute/service/*", KindId::Service),
    ("compute/task_definition/*", KindId::TaskDefinition),
    ("data/postgres", KindId::Database),
    ("data/postgres/parameter_group", KindId::DbParameterGroup),
    ("data/postgres/subnet_group", KindId::DbSubnetGroup),
    ("data/redis", KindId::Cache),
    ("data/redis/auth", KindId::Secret),
    ("data/redis/parameter_group", KindId::CacheParameterGroup),
    ("data/redis/subnet_group", KindId::CacheSubnetGroup),
    ("edge/certificate", KindId::Certificate),
    ("edge/listener/*", KindId::Listener),
    ("edge/load_balancer", KindId::LoadBalancer),
    ("edge/record/*", KindId::DnsRecord),
    ("edge/record/validation/*", KindId::DnsRecord),
    ("edge/target_group/*", KindId::TargetGroup),
    ("edge/zone", KindId::DnsZone),
    ("firewall/address_set/*", KindId::IpSet),
    ("firewall/log_group", KindId::LogGroup),
    ("firewall/web_acl", KindId::WebAcl),
    ("identity/role/*", KindId::Role),
    ("identity/secret/*", KindId::Secret),
    ("network/elastic_ip/*", KindId::ElasticIp),
    ("network/endpoint/*", KindId::VpcEndpoint),
    ("network/flow_log", KindId::FlowLog),
    ("network/flow_log/log_group", KindId::LogGroup),
    ("network/group/*", KindId::SecurityGroup),
    ("network/internet_gateway", KindId::InternetGateway),
    ("network/nat/*", KindId::NatGateway),
    ("network/route_table/*", KindId::RouteTable),
    ("network/route_table/private/*", KindId::RouteTable),
    ("network/subnet/*/*", KindId::Subnet),
    ("network/vpc", KindId::Vpc),
];

/// The kind whose resources have addresses like this.
fn kind_at(address: &Address) -> Option<KindId> {
    let fits = |form: &str| {
        let (mut form, mut parts) = (form.split('/'), address.as_str().split('/'));
        loop {
            match (form.next(), parts.next()) {
                (None, None) => return true,
                (Some(wanted), Some(part)) if wanted == "*" || wanted == part => {}
                _ => return false,
            }
        }
    };
    FORMS.iter().find(|(form, _)| fits(form)).map(|(_, kind)| *kind)
}

/// One rename of the file.
struct Move {
    index: usize,
    from: Address,
    to: Address,
}

/// Enter the renames, and report those that cannot be meant. In a chain (`a` to `b`, `b` to `c`) whoever still stands at `a` or
/// at `b` becomes `c`: accounts of different ages follow one list.
pub(super) fn enter(mut graph: Graph, loaded: &Loaded) -> Result<Graph, Problems> {
    let moves: Vec<Move> = loaded
        .environment
        .moved
        .iter()
        .enumerate()
        .filter_map(|(index, moved)| {
            Some(Move { index, from: moved.from.parse().ok()?, to: moved.to.parse().ok()? })
        })
        .collect();
    let mut problems = Vec::new();
    let mut entered: Vec<(usize, &Address, &Address)> = Vec::new();
    for one in &moves {
        let (steps, last) = follow(&moves, one);
        match refuse(&graph, loaded, one, last) {
            Some(problem) => problems.push(problem),
            None => entered.push((steps, &last.to, &one.from)),
        }
    }
    if !problems.is_empty() {
        return Err(Problems::new(problems, loaded.sources.clone()));
    }
    entered.sort_by_key(|(steps, ..)| std::cmp::Reverse(*steps)); // the oldest first
    for (_, to, from) in entered {
        if let Some(wanted) = graph.resources.get_mut(to) {
            wanted.moved_from.push(from.clone());
        }
    }
    Ok(graph)
}

/// The last rename of a chain and how many lie before it. Chains that go round have been refused; the list is the bound.
fn follow<'a>(moves: &'a [Move], first: &'a Move) -> (usize, &'a Move) {
    let mut last = first;
    for steps in 0..moves.len() {
        match moves.iter().find(|next| next.from == last.to) {
            Some(next) => last = next,
            None => return (steps, last),
        }
    }
    (moves.len(), last)
}

fn refuse(graph: &Graph, loaded: &Loaded, one: &Move, last: &Move) -> Option<Problem> {
    let from = &one.from;
    let place =
        |index: usize, key: &str| -> Option<&Origin> { loaded.origins.of(&format!("moved.{index}.{key}")) };
    let path = |key: &str| format!("moved.{}.{key}", one.index);
    if graph.resources.contains_key(from) {
        let message = format!("`{from}` cannot move: this environment still wants something there");
        let problem = Problem::error("moved-from-wanted", path("from"), message);
        return Some(
            problem.at(place(one.index, "from")).allowed("an address that nothing is wanted at any more"),
        );
    }
    let to = &last.to;
    let Some(wanted) = graph.resources.get(to) else {
        // Told at the end of the chain only.
        if one.index != last.index {
            return None;
        }
        let near = nearest(to.as_str(), graph.resources.keys().map(Address::as_str));
        let message = format!("`{from}` cannot move to `{to}`: nothing is wanted there");
        let problem = Problem::error("moved-to-nowhere", path("to"), message).at(place(one.index, "to"));
        return Some(
            problem
                .allowed("an address of this environment, as `infra graph` prints them")
                .near(near.map(|near| format!("\"{near}\"")).as_deref()),
        );
    };
    let kind = kind_at(from);
    if kind == Some(wanted.kind) {
        return None;
    }
    let message = match kind {
        Some(kind) => {
            format!("`{from}` is a {kind} and `{to}` a {}: one cannot become the other", wanted.kind)
        }
        None => format!("`{from}` cannot become `{to}`: nothing ever has such an address"),
    };
    let near = nearest(from.as_str(), FORMS.iter().map(|(form, _)| *form));
    let problem = Problem::error("moved-to-another-kind", path("from"), message)
        .at(place(one.index, "from"))
        .near(
            near.filter(|form| kind.is_none() && !form.contains('*'))
                .map(|form| format!("\"{form}\""))
                .as_deref(),
        )
        .related("this is where it ends", place(last.index, "to"));
    let forms = FORMS.iter().filter(|(_, kind)| *kind == wanted.kind);
    let forms: Vec<String> = forms.map(|(form, _)| format!("`{}`", form.replace('*', "<name>"))).collect();
    Some(problem.allowed(format!("an address of the kind {}: {}", wanted.kind, forms.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{Environment, Loader};

    #[test]
    fn every_address_of_the_shipped_environments_has_the_form_of_its_kind() {
        let loader = Loader::shipped();
        for name in loader.environment_names().iter().filter(|name| *name != "base") {
            let loaded = Environment::load(name, &loader).unwrap();
            for (address, wanted) in crate::blueprint::blueprint(&loaded).unwrap().resources {
                assert_eq!(kind_at(&address), Some(wanted.kind), "{name}: {address}");
            }
        }
        assert_eq!(kind_at(&Address::new("network/vpc9")), None);
        assert_eq!(kind_at(&Address::new("network/nat/regional")), Some(KindId::NatGateway));
    }
}
