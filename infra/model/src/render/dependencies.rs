//! The dependency graph as Mermaid (renders where code is reviewed) and as DOT.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::address::Address;
use crate::graph::Graph;

/// Edges from what is needed to what needs it.
fn edges(graph: &Graph) -> Vec<(&Address, Address)> {
    let mut edges: Vec<(&Address, Address)> = Vec::new();
    for (address, wanted) in &graph.resources {
        let references = wanted.references().into_iter().map(|reference| reference.address);
        for to in references.chain(wanted.after.iter().cloned()) {
            edges.push((address, to));
        }
    }
    edges.sort();
    edges.dedup();
    edges
}

fn by_root(graph: &Graph) -> BTreeMap<&str, Vec<&Address>> {
    let mut groups: BTreeMap<&str, Vec<&Address>> = BTreeMap::new();
    for address in graph.resources.keys() {
        groups.entry(address.root()).or_default().push(address);
    }
    groups
}

fn numbers(graph: &Graph) -> BTreeMap<&Address, usize> {
    graph.resources.keys().enumerate().map(|(number, address)| (address, number)).collect()
}

fn rest(address: &Address) -> &str {
    address.as_str().split_once('/').map_or(address.as_str(), |(_, rest)| rest)
}

pub fn mermaid(graph: &Graph) -> String {
    let numbers = numbers(graph);
    let mut out = String::from("flowchart LR\n");
    for (root, addresses) in by_root(graph) {
        let _ = writeln!(out, "  subgraph {root}");
        for address in addresses {
            let title = graph.resources[address].kind.spec().title;
            let _ = writeln!(out, "    n{}[\"{}<br/><i>{title}</i>\"]", numbers[address], rest(address));
        }
        out.push_str("  end\n");
    }
    for (from, to) in edges(graph) {
        if let (Some(from), Some(to)) = (numbers.get(from), numbers.get(&to)) {
            let _ = writeln!(out, "  n{to} --> n{from}");
        }
    }
    out
}

pub fn dot(graph: &Graph) -> String {
    let mut out = String::from("digraph environment {\n  rankdir=LR;\n  node [shape=box];\n");
    for (root, addresses) in by_root(graph) {
        let _ = writeln!(out, "  subgraph \"cluster_{root}\" {{\n    label=\"{root}\";");
        for address in addresses {
            let title = graph.resources[address].kind.spec().title;
            let _ = writeln!(out, "    \"{address}\" [label=\"{}\\n{title}\"];", rest(address));
        }
        out.push_str("  }\n");
    }
    for (from, to) in edges(graph) {
        let _ = writeln!(out, "  \"{to}\" -> \"{from}\";");
    }
    out.push_str("}\n");
    out
}
