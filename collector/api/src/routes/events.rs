//! Events and process trees.

use beffroi_store::{EventSearch, Filter, Found, ProcessTree};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::Operation;
use crate::desk::Desk;
use crate::error::Refusal;
use crate::params;

/// Events that fit filters: `{"events": [..]}`, `{"total": n}` with `count`, `{"groups": [{value, count}]}` with `by`.
pub(crate) struct Search;

/// What is searched.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SearchInput {
    /// All of them hold; at most 32.
    pub(crate) filters: Vec<Filter>,
    /// Received at this time or later: RFC 3339, or how long ago (`30m`, `24h`, `7d`).
    pub(crate) since: Option<String>,
    /// Received before this time.
    pub(crate) until: Option<String>,
    /// Only this tenant.
    pub(crate) tenant: Option<String>,
    /// Host name, agent id or a prefix of it.
    pub(crate) host: Option<String>,
    /// Count by the values of this field instead of listing.
    pub(crate) by: Option<String>,
    /// Only count.
    pub(crate) count: bool,
    /// Rows or groups; 0 for 100, at most 10000.
    pub(crate) limit: u64,
}

impl Operation for Search {
    type Input = SearchInput;
    type Answer = Found;

    async fn run(desk: &Desk<'_>, asked: SearchInput) -> Result<Found, Refusal> {
        let search = EventSearch {
            since: params::time("since", asked.since.as_deref())?,
            until: params::time("until", asked.until.as_deref())?,
            filters: asked.filters,
            host: asked.host.filter(|host| !host.is_empty()),
            by: asked.by.filter(|by| !by.is_empty()),
            count: asked.count,
            limit: asked.limit,
        };
        desk.narrowed(asked.tenant.as_deref()).search(&search).await
    }

    fn rows(answer: &Found) -> u64 {
        match answer {
            Found::Events(events) => events.len() as u64,
            Found::Groups(groups) => groups.len() as u64,
            Found::Total(_) => 1,
        }
    }
}

/// The tree of a process.
pub(crate) struct Tree;

/// Which process.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TreeInput {
    /// Its GUID.
    pub(crate) guid: String,
}

impl Operation for Tree {
    type Input = TreeInput;
    type Answer = ProcessTree;

    async fn run(desk: &Desk<'_>, p: TreeInput) -> Result<ProcessTree, Refusal> {
        desk.process_tree(&p.guid).await
    }

    fn rows(answer: &ProcessTree) -> u64 {
        answer.nodes.len() as u64
    }
}
