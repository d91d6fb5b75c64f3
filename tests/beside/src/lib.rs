//! The same log in three engines: texts appended, made durable in groups, read back.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableTable, TableDefinition};
use rusqlite::Connection;
use sapwood::disk::RealDisk;
use sapwood::journal::{Feedback, Journal, Limits, Record};
use sapwood::signal::Signal;
use sapwood::store::Store;
use sapwood::vault::{HostKey, Vault};

/// What the three have in common. A failing disk ends the program: nothing is measured then.
pub trait Log {
    /// Adds a text, which need not be durable yet.
    fn append(&mut self, text: &str);
    /// Makes everything durable.
    fn commit(&mut self);
    /// Reads everything and returns how many there are.
    fn read(&mut self) -> usize;
}

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Keys, store and journal, as a learner opens them.
    Ours,
    /// redb as it comes.
    Redb,
    /// redb with what makes opening fast after a crash.
    QuickRedb,
    /// SQLite with a write-ahead log, synced at each commit.
    Sqlite,
}

impl Engine {
    /// In the order in which they take turns.
    pub const ALL: [Engine; 4] = [Engine::Ours, Engine::Redb, Engine::QuickRedb, Engine::Sqlite];

    /// Its name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Ours => "sapwood",
            Engine::Redb => "redb",
            Engine::QuickRedb => "redb, quick repair",
            Engine::Sqlite => "SQLite",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Engine {
        Engine::ALL.into_iter().find(|engine| engine.name() == name).expect("an engine's name")
    }

    /// Opens what is in `dir`, or begins it.
    pub fn open(self, dir: &Path) -> Box<dyn Log> {
        match self {
            Engine::Ours => Box::new(Ours::open(dir)),
            Engine::Redb => Box::new(Redb::open(dir, false)),
            Engine::QuickRedb => Box::new(Redb::open(dir, true)),
            Engine::Sqlite => Box::new(Sqlite::open(dir)),
        }
    }
}

/// Ours. The texts are edits of replies, each with the id of its reply and a time.
pub struct Ours {
    journal: Journal,
    _store: Store,
    _vault: Vault,
    count: u64,
}

impl Ours {
    /// Opens what is in `dir`, or begins it.
    pub fn open(dir: &Path) -> Ours {
        let disk = Arc::new(RealDisk::open(dir).expect("a folder"));
        let vault = Vault::open(disk, Arc::new(HostKey::new([7; 32]))).expect("keys");
        let here = vault.here().clone();
        let store = Store::open(here.disk.clone(), here.seal.clone(), [1; 32]).expect("a store");
        let journal = Journal::open(here.disk, here.seal, Limits::default()).expect("a journal");
        Ours { journal, _store: store, _vault: vault, count: 0 }
    }
}

impl Log for Ours {
    fn append(&mut self, text: &str) {
        self.count += 1;
        let signal = Signal::Edited { text: text.to_owned() };
        let (reply_id, time_ms) = (self.count.into(), self.count);
        let record = Record::Feedback(Feedback { reply_id, order: time_ms, time_ms, signal });
        self.journal.append(&record, time_ms).expect("a record");
    }

    fn commit(&mut self) {
        self.journal.flush(self.count).expect("a sync");
    }

    fn read(&mut self) -> usize {
        self.journal.scan().expect("the journal").entries.len()
    }
}

const TABLE: TableDefinition<'_, u64, &str> = TableDefinition::new("log");

/// redb: one table, keys from 0 on, a transaction per group.
pub struct Redb {
    database: Database,
    quick: bool,
    pending: Vec<String>,
    count: u64,
}

impl Redb {
    /// Opens what is in `dir`, or begins it.
    pub fn open(dir: &Path, quick: bool) -> Redb {
        fs::create_dir_all(dir).expect("a folder");
        let database = Database::create(dir.join("log.redb")).expect("a database");
        let write = database.begin_write().expect("a transaction");
        let count = {
            let table = write.open_table(TABLE).expect("a table");
            table.last().expect("a look").map_or(0, |(key, _)| key.value() + 1)
        };
        if count == 0 {
            write.commit().expect("a commit")
        } else {
            drop(write)
        }
        Redb { database, quick, pending: Vec::new(), count }
    }
}

impl Log for Redb {
    fn append(&mut self, text: &str) {
        self.pending.push(text.to_owned());
    }

    fn commit(&mut self) {
        let mut write = self.database.begin_write().expect("a transaction");
        write.set_quick_repair(self.quick);
        {
            let mut table = write.open_table(TABLE).expect("a table");
            for text in self.pending.drain(..) {
                table.insert(self.count, &*text).expect("an insert");
                self.count += 1;
            }
        }
        write.commit().expect("a commit");
    }

    fn read(&mut self) -> usize {
        let read = redb::ReadableDatabase::begin_read(&self.database).expect("a transaction");
        let table = read.open_table(TABLE).expect("a table");
        let texts = table.iter().expect("a scan").map(|row| row.expect("a row").1.value().len());
        texts.filter(|length| *length > 0).count()
    }
}

/// SQLite: one table with a rowid, a transaction per group.
pub struct Sqlite {
    database: Connection,
    pending: Vec<String>,
}

impl Sqlite {
    /// Opens what is in `dir`, or begins it.
    pub fn open(dir: &Path) -> Sqlite {
        fs::create_dir_all(dir).expect("a folder");
        let database = Connection::open(dir.join("log.sqlite")).expect("a database");
        let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                     CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, text TEXT NOT NULL);";
        database.execute_batch(setup).expect("a table");
        Sqlite { database, pending: Vec::new() }
    }
}

impl Log for Sqlite {
    fn append(&mut self, text: &str) {
        self.pending.push(text.to_owned());
    }

    fn commit(&mut self) {
        let transaction = self.database.transaction().expect("a transaction");
        {
            let insert = "INSERT INTO log (text) VALUES (?)";
            let mut insert = transaction.prepare_cached(insert).expect("a statement");
            for text in self.pending.drain(..) {
                insert.execute([text]).expect("an insert");
            }
        }
        transaction.commit().expect("a commit");
    }

    fn read(&mut self) -> usize {
        let mut select = self.database.prepare("SELECT text FROM log").expect("a statement");
        let texts = select.query_map([], |row| row.get::<_, String>(0)).expect("a scan");
        texts.filter(|text| !text.as_ref().expect("a row").is_empty()).count()
    }
}
