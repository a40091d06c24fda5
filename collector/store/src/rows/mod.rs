//! Rows as ClickHouse takes them (RowBinary), kept apart from the types on the wire: a column can come or go without the
//! contract moving. One file per source; each row's writer stands beside the column list it must follow.

pub(crate) mod alerts;
pub(crate) mod binary;
pub(crate) mod coverage;
pub(crate) mod events;
pub(crate) mod operations;

/// Rows of one table, ready to be sent.
#[derive(Debug, Default, Clone)]
pub(crate) struct TableBlock {
    pub(crate) body: Vec<u8>,
    pub(crate) rows: usize,
}

/// Where finished blocks go. False: nobody wants more.
pub(crate) type Sink<'a> = dyn FnMut(Table, TableBlock) -> bool + 'a;

/// Gathers rows by table and hands full blocks on, so that memory is bounded whatever the rows expand to.
pub(crate) struct Blocks<'a> {
    open: std::collections::BTreeMap<Table, TableBlock>,
    sink: &'a mut Sink<'a>,
    wanted: bool,
}

/// Bytes of one block: one engine block, below the embedded engine's limit of 128 MiB, and rarely reached by a batch.
const BLOCK_BYTES: usize = 64 * 1024 * 1024;
/// Rows of one block: the engine would cut at 1,048,449.
const BLOCK_ROWS: usize = 1_000_000;

impl<'a> Blocks<'a> {
    pub(crate) fn new(sink: &'a mut Sink<'a>) -> Self {
        Self { open: std::collections::BTreeMap::new(), sink, wanted: true }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, table: Table, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.wanted {
            return;
        }
        let block = self.open.entry(table).or_default();
        write(&mut block.body);
        block.rows += 1;
        // The ledger goes last: what it says is covered must stand already. Its rows are one for each batch.
        if table != Table::Ledger && (block.body.len() >= BLOCK_BYTES || block.rows >= BLOCK_ROWS) {
            let full = std::mem::take(block);
            self.wanted = (self.sink)(table, full);
        }
    }

    /// Hands on what is left, in the order of the tables.
    pub(crate) fn finish(self) {
        let Self { open, sink, mut wanted } = self;
        for (table, block) in open {
            if wanted && block.rows > 0 {
                wanted = sink(table, block);
            }
        }
    }
}

/// A table that blocks are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Table {
    Events,
    Gaps,
    Heartbeats,
    Heads,
    Hosts,
    // Last of its kind: what it says is covered must stand already.
    Ledger,
    Matches,
    DeadLetters,
    Audit,
    Control,
}

impl Table {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Gaps => "gaps",
            Self::Heartbeats => "heartbeats",
            Self::Heads => "heads",
            Self::Hosts => "hosts",
            Self::Ledger => "ledger",
            Self::Matches => "matches",
            Self::DeadLetters => "dead_letters",
            Self::Audit => "audit",
            Self::Control => "control",
        }
    }

    /// The statement that a block of this table goes with.
    pub(crate) fn insert(self) -> String {
        let columns = match self {
            Self::Events => events::columns(),
            Self::Gaps => coverage::GAP_COLUMNS.into(),
            Self::Heartbeats => coverage::HEARTBEAT_COLUMNS.into(),
            Self::Heads => coverage::HEAD_COLUMNS.into(),
            Self::Hosts => coverage::HOST_COLUMNS.into(),
            Self::Ledger => coverage::LEDGER_COLUMNS.into(),
            Self::Matches => alerts::MATCH_COLUMNS.into(),
            Self::DeadLetters => operations::DEAD_LETTER_COLUMNS.into(),
            Self::Audit => operations::AUDIT_COLUMNS.into(),
            Self::Control => operations::CONTROL_COLUMNS.into(),
        };
        format!("INSERT INTO {} ({columns}) FORMAT RowBinary", self.name())
    }
}
